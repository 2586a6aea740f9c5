use super::*;

#[test]
fn every_knob_has_a_name_of_its_own_and_says_why() {
    for (at, knob) in KNOBS.iter().enumerate() {
        assert!(KNOBS[..at].iter().all(|other| other.name != knob.name), "{} twice", knob.name);
        assert!(knob.why.len() > 30, "{}", knob.name);
    }
}
