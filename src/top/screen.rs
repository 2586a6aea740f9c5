//! The terminal, while somebody looks: a new frame after every look at the broker, until `q`.

use std::time::{Duration, Instant};

use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
};

use super::{TopError, draw::View, rates::Rates, scrape::Scrape};

/// Shows it until somebody has seen enough.
///
/// # Errors
/// The terminal fails, or the broker cannot be asked the first time; later that is shown.
pub(super) fn run(url: &str, every: Duration) -> Result<(), TopError> {
    let first = (Scrape::get(url)?, Instant::now());
    let mut terminal = ratatui::try_init()?;
    let shown = show(&mut terminal, url, every, first);
    ratatui::try_restore()?;
    shown
}

fn show(
    terminal: &mut DefaultTerminal,
    url: &str,
    every: Duration,
    first: (Scrape, Instant),
) -> Result<(), TopError> {
    let mut view = View::new(url);
    let (mut before, mut since) = first;
    let mut next = since + every;
    loop {
        terminal.draw(|frame| frame.render_widget(&view, frame.area()))?;
        if wants_to_leave(next)? {
            return Ok(());
        }
        if Instant::now() < next {
            continue;
        }
        match Scrape::get(url) {
            Ok(after) => {
                let now = Instant::now();
                view.push(Rates::between(&before, &after, now - since));
                (before, since) = (after, now);
            }
            Err(error) => view.fail(error.to_string()),
        }
        next = Instant::now() + every;
    }
}

/// Waits for a key or another size, until `next` at most. True if the key was one to leave by.
fn wants_to_leave(next: Instant) -> Result<bool, TopError> {
    if !event::poll(next.saturating_duration_since(Instant::now()))? {
        return Ok(false);
    }
    Ok(matches!(event::read()?, Event::Key(key) if key.kind != KeyEventKind::Release && leaves(key)))
}

fn leaves(key: KeyEvent) -> bool {
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => true,
        // In raw mode the terminal sends it as a key.
        KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q_escape_and_ctrl_c_leave() {
        let leaves = |code, modifiers| leaves(KeyEvent::new(code, modifiers));
        assert!(leaves(KeyCode::Char('q'), KeyModifiers::NONE) && leaves(KeyCode::Esc, KeyModifiers::NONE));
        assert!(leaves(KeyCode::Char('c'), KeyModifiers::CONTROL));
        assert!(!leaves(KeyCode::Char('c'), KeyModifiers::NONE) && !leaves(KeyCode::Up, KeyModifiers::NONE));
    }
}
