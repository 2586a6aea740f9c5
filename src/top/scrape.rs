//! The numbers of a broker at one moment: asked for over HTTP, read from Prometheus's text format.
//!
//! Asked for as HTTP/1.0: then the answer is neither in chunks nor is the connection kept.
//!
//! Source: Prometheus, "Text-based format", version 0.0.4.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use corelane_bench::client::connection;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest wait for the next bytes of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 32 << 20;
const SCHEME: &str = "http://";
const PATH: &str = "/metrics";

/// Why a broker's numbers cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScrapeError {
    /// Not an address that can be asked.
    #[error("{0}: expected http://HOST:PORT/metrics")]
    Url(String),
    /// Nobody answers there; the broker may not run, or serve HTTP elsewhere.
    #[error("cannot read {url}: {source} (a broker says in its ready line where its metrics are)")]
    Unreachable { url: String, source: io::Error },
    /// Somebody answers, but not with metrics.
    #[error("{url} answers: {status}")]
    Refused { url: String, status: String },
    /// More than a broker has to say.
    #[error("{url} answers with more than {ANSWER_BYTES_MAX} bytes")]
    TooLong { url: String },
}

/// All series of one scrape, by name.
#[derive(Debug, Default, Clone)]
pub(super) struct Scrape {
    series: HashMap<String, Vec<Series>>,
}

/// One line of it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    /// Names and values, as they stand.
    labels: Vec<(String, String)>,
    /// Its number.
    pub(super) value: f64,
}

impl Series {
    /// The value of a label; empty where there is none.
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(label, _)| label == name).map_or("", |(_, value)| value)
    }
}

impl Scrape {
    /// Asks a broker.
    ///
    /// # Errors
    /// [`ScrapeError`].
    pub(super) fn get(url: &str) -> Result<Self, ScrapeError> {
        let (address, path) = address_and_path(url)?;
        let answer =
            ask(address, path).map_err(|source| ScrapeError::Unreachable { url: url.to_owned(), source })?;
        if answer.len() as u64 > ANSWER_BYTES_MAX {
            return Err(ScrapeError::TooLong { url: url.to_owned() });
        }
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.lines().next().unwrap_or_default();
        if status.split(' ').nth(1) != Some("200") {
            let status = if status.is_empty() { "nothing" } else { status };
            return Err(ScrapeError::Refused { url: url.to_owned(), status: status.to_owned() });
        }
        Ok(Self::parse(body))
    }

    /// Reads the text. A line that is none of a series says nothing.
    pub(super) fn parse(text: &str) -> Self {
        let mut series: HashMap<String, Vec<Series>> = HashMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if let Some((name, one)) = parse_line(line) {
                series.entry(name.to_owned()).or_default().push(one);
            }
        }
        Self { series }
    }

    /// All series of that name.
    pub(super) fn of(&self, name: &str) -> &[Series] {
        self.series.get(name).map_or(&[], Vec::as_slice)
    }

    /// The sums of a metric by the value of one label, over all others; nothing where it has no such label.
    pub(super) fn by<'a>(&'a self, name: &str, label: &str) -> BTreeMap<&'a str, f64> {
        let mut sums = BTreeMap::new();
        for one in self.of(name) {
            let of_label = one.label(label);
            if !of_label.is_empty() {
                *sums.entry(of_label).or_insert(0.0) += one.value;
            }
        }
        sums
    }
}

fn address_and_path(url: &str) -> Result<(&str, &str), ScrapeError> {
    let wrong = || ScrapeError::Url(url.to_owned());
    let rest = match url.split_once("://") {
        Some(_) => url.strip_prefix(SCHEME).ok_or_else(wrong)?,
        None => url,
    };
    let (address, path) = rest.find('/').map_or((rest, PATH), |at| rest.split_at(at));
    let port = address.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    let clean = path.bytes().all(|byte| byte.is_ascii_graphic());
    match port {
        Some(Ok(_)) if clean => Ok((address, if path == "/" { PATH } else { path })),
        _ => Err(wrong()),
    }
}

fn ask(address: &str, path: &str) -> io::Result<Vec<u8>> {
    let mut stream: TcpStream = connection::connect(address, CONNECT_TIMEOUT)?;
    stream.set_read_timeout(Some(READ_TIMEOUT))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\nUser-Agent: corelane-top\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX + 1).read_to_end(&mut answer)?;
    Ok(answer)
}

/// Name, labels, value; a timestamp after it is left alone.
fn parse_line(line: &str) -> Option<(&str, Series)> {
    let name_end = line.find(['{', ' ', '\t'])?;
    let (name, rest) = line.split_at(name_end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => parse_labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    Some((name, Series { labels, value }))
}

/// Labels up to the closing brace, and what stands behind it.
fn parse_labels(mut rest: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((labels, behind));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let (value, behind) = parse_quoted(quoted)?;
        labels.push((name.trim().to_owned(), value));
        rest = behind;
    }
}

/// Up to the closing quotation mark, which a backslash makes one of the value.
fn parse_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut escaped = false;
    for (at, one) in text.char_indices() {
        match (escaped, one) {
            (false, '"') => return Some((value, &text[at + 1..])),
            (false, '\\') => escaped = true,
            (true, 'n') => (value.push('\n'), escaped = false).1,
            (_, one) => (value.push(one), escaped = false).1,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn series_are_read_with_their_labels_and_other_lines_say_nothing() {
        let text = "# HELP a b{c=\"d\"} 1\na 1.5 1700000000\nb{shard=\"0\",api=\"Produce\"} 7\n\
            b{shard=\"1\", api=\"x\\\"y\\\\z\\n, }\",} 2\nno value\nc{open=\"\nd NaN\n";
        let scrape = Scrape::parse(text);
        assert_eq!(scrape.of("a")[0].value, 1.5);
        assert_eq!(scrape.of("b").len(), 2);
        assert_eq!(scrape.of("b")[0].label("api"), "Produce");
        assert_eq!(scrape.of("b")[1].label("api"), "x\"y\\z\n, }");
        assert_eq!(scrape.by("b", "shard").into_iter().collect::<Vec<_>>(), [("0", 7.0), ("1", 2.0)]);
        assert!(
            scrape.by("a", "shard").is_empty() && scrape.of("c").is_empty() && scrape.of("no").is_empty()
        );
        assert!(scrape.of("d")[0].value.is_nan());
    }

    #[test]
    fn an_address_needs_a_port_and_the_path_is_metrics_unless_given() {
        for url in ["127.0.0.1:9644", "http://127.0.0.1:9644", "http://127.0.0.1:9644/"] {
            assert_eq!(address_and_path(url).unwrap(), ("127.0.0.1:9644", "/metrics"), "{url}");
        }
        assert_eq!(address_and_path("http://[::1]:1/a/b").unwrap(), ("[::1]:1", "/a/b"));
        for url in ["https://a:1/metrics", "a", "a:b", "http://a:1/x y", ""] {
            assert!(address_and_path(url).is_err(), "{url}");
        }
    }

    /// Answers one request with `answer`; returns what `get` made of it.
    fn get_from(answer: &'static str) -> Result<Scrape, ScrapeError> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 1024];
            let read = stream.read(&mut asked).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&asked[..read]).into_owned()
        });
        let got = Scrape::get(&format!("http://{address}/metrics"));
        let asked = server.join().unwrap();
        assert!(asked.starts_with(&format!("GET /metrics HTTP/1.0\r\nHost: {address}\r\n")), "{asked}");
        got
    }

    #[test]
    fn a_broker_is_asked_over_http_and_a_refusal_is_told() {
        let got = get_from("HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\na 1\n").unwrap();
        assert_eq!(got.of("a")[0].value, 1.0);
        let refused = get_from("HTTP/1.0 404 Not Found\r\n\r\n").unwrap_err().to_string();
        assert!(refused.ends_with("answers: HTTP/1.0 404 Not Found"), "{refused}");
        let nothing = get_from("").unwrap_err().to_string();
        assert!(nothing.ends_with("answers: nothing"), "{nothing}");
    }

    #[test]
    fn nobody_there_is_told_with_the_address() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = Scrape::get(&format!("http://{address}/metrics")).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot read http://{address}/metrics: ")), "{error}");
    }
}
