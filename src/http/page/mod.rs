//! The live page at `/`, and what it asks for below `/api/`: topics, partitions, records.
//!
//! | path                             | answer                                               |
//! |----------------------------------|------------------------------------------------------|
//! | `/`                              | the page: one file, which asks nobody but the broker |
//! | `/api/topics`                    | names and numbers of partitions                      |
//! | `/api/topics/{name}`             | where each partition begins and ends                 |
//! | `/api/topics/{name}/{partition}` | records                                              |
//!
//! Records are asked for with `offset=` (a number, `earliest`, `latest`), `max=`, and `as=` (`auto`, `text`, `json`,
//! `hex`).
//!
//! Topics and records are asked for as any client asks, over a connection of the process to its own listener:
//! no core knows of this room. Only GET is answered; `guard.rs` says to whom. Read `topics.rs` (the questions),
//! `shown.rs` (bytes that a person can read), `live.html` (the page itself).

mod guard;
mod shown;
mod topics;

use std::{net::SocketAddr, sync::Arc};

use axum::{
    Router,
    extract::{Path, RawQuery, State},
    http::{HeaderValue, StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Serialize;
use tokio::sync::Semaphore;

pub(super) use self::guard::Door;
use self::{
    shown::Form,
    topics::{BrowseError, From, Kafka, RECORDS_MAX, Wanted},
};

/// Questions about topics that are asked at the same time; each holds one connection and the bytes it brought.
const QUESTIONS_MAX: usize = 2;
/// Records of an answer where nobody says how many.
const RECORDS_DEFAULT: usize = 50;

const HTML: &str = include_str!("live.html");
const CSS: &str = include_str!("live.css");
const JS: &str = include_str!("live.js");

/// Whom the page asks.
#[derive(Debug, Clone)]
struct Page {
    kafka: SocketAddr,
    asking: Arc<Semaphore>,
}

/// The page and its answers. `kafka` is a listener of this process.
pub(super) fn routes(kafka: SocketAddr, door: Door) -> Router {
    let page = Page { kafka: reachable(kafka), asking: Arc::new(Semaphore::new(QUESTIONS_MAX)) };
    let api = Router::new()
        .route("/api/topics", get(list))
        .route("/api/topics/{name}", get(topic))
        .route("/api/topics/{name}/{partition}", get(records))
        .with_state(page);
    Router::new().route("/", get(live)).merge(private(api, door))
}

/// Refuses other hosts and pages of other origins: for what tells of clients and what they write.
pub(super) fn private(router: Router, door: Door) -> Router {
    router.layer(middleware::from_fn_with_state(door, guard::own_pages_only))
}

/// Refuses what comes by a name that is not this host's: for everything that is served.
pub(super) fn guarded(router: Router, door: Door) -> Router {
    router.layer(middleware::from_fn_with_state(door, guard::known_names_only))
}

/// An address of this process that a client can connect to.
fn reachable(mut listener: SocketAddr) -> SocketAddr {
    if listener.ip().is_unspecified() {
        let loopback = match listener {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        listener.set_ip(loopback);
    }
    listener
}

async fn live() -> Response {
    let mut nonce = [0; 16];
    if getrandom::fill(&mut nonce).is_err() {
        return (StatusCode::INTERNAL_SERVER_ERROR, "no random numbers\n").into_response();
    }
    let nonce = format!("{:032x}", u128::from_ne_bytes(nonce));
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let Ok(policy) = HeaderValue::try_from(policy) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let html = HTML.replace("{{nonce}}", &nonce).replace("{{css}}", CSS).replace("{{js}}", JS);
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    ([(header::CONTENT_TYPE, kind), (header::CONTENT_SECURITY_POLICY, policy)], html).into_response()
}

async fn list(State(page): State<Page>) -> Response {
    page.ask(Kafka::topics).await
}

async fn topic(State(page): State<Page>, Path(name): Path<String>) -> Response {
    page.ask(move |kafka| kafka.topic(&name)).await
}

async fn records(
    State(page): State<Page>,
    Path((name, partition)): Path<(String, i32)>,
    RawQuery(query): RawQuery,
) -> Response {
    match wanted(query.as_deref().unwrap_or_default()) {
        Ok(wanted) => page.ask(move |kafka| kafka.records(&name, partition, &wanted)).await,
        Err(error) => refusal(&error),
    }
}

/// `offset=5&max=10&as=hex`; nothing in it needs to be escaped.
fn wanted(query: &str) -> Result<Wanted, BrowseError> {
    let mut wanted = Wanted { from: From::Latest, records_max: RECORDS_DEFAULT, form: Form::Auto };
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let wrong = |expected| BrowseError::Question(format!("{pair}: expected {expected}"));
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        match key {
            "offset" => {
                wanted.from = match value {
                    "earliest" => From::Earliest,
                    "latest" => From::Latest,
                    number => From::Offset(
                        number.parse().map_err(|_| wrong("offset=earliest, latest, or a number"))?,
                    ),
                }
            }
            "max" => {
                let number = value.parse().ok().filter(|number| (1..=RECORDS_MAX).contains(number));
                wanted.records_max = number.ok_or_else(|| wrong("max=1 to 200"))?;
            }
            "as" => wanted.form = Form::of(value).ok_or_else(|| wrong("as=auto, text, json, or hex"))?,
            _ => return Err(wrong("offset=, max= or as=")),
        }
    }
    Ok(wanted)
}

impl Page {
    /// Asks aside from the thread that serves HTTP, which it would hold up.
    async fn ask<T: Serialize + Send + 'static>(
        &self,
        question: impl FnOnce(&mut Kafka) -> Result<T, BrowseError> + Send + 'static,
    ) -> Response {
        let Ok(permit) = self.asking.clone().try_acquire_owned() else {
            return refusal(&BrowseError::Busy);
        };
        let kafka = self.kafka;
        let asked = tokio::task::spawn_blocking(move || {
            let _until_answered = permit;
            question(&mut Kafka::reach(kafka)?)
        });
        match asked.await {
            Ok(Ok(answer)) => json(StatusCode::OK, &answer),
            Ok(Err(error)) => refusal(&error),
            Err(error) => refusal(&BrowseError::Ended(error.to_string())),
        }
    }
}

fn refusal(error: &BrowseError) -> Response {
    let status = match error {
        BrowseError::Question(_) => StatusCode::BAD_REQUEST,
        BrowseError::Unknown(_) => StatusCode::NOT_FOUND,
        BrowseError::Busy => StatusCode::SERVICE_UNAVAILABLE,
        BrowseError::Broker(_) | BrowseError::Refused { .. } | BrowseError::Damaged { .. } => {
            StatusCode::BAD_GATEWAY
        }
        BrowseError::Ended(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    json(status, &serde_json::json!({ "error": error.to_string() }))
}

fn json(status: StatusCode, answer: &impl Serialize) -> Response {
    match serde_json::to_string(answer) {
        Ok(text) => (status, [(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_about_records_is_understood_or_refused_with_what_was_expected() {
        assert_eq!(
            wanted("").unwrap(),
            Wanted { from: From::Latest, records_max: RECORDS_DEFAULT, form: Form::Auto }
        );
        assert_eq!(
            wanted("offset=7&max=200&as=hex").unwrap(),
            Wanted { from: From::Offset(7), records_max: 200, form: Form::Hex }
        );
        assert_eq!(wanted("offset=earliest").unwrap().from, From::Earliest);
        for query in ["offset=", "offset=x", "max=0", "max=201", "max=-1", "as=xml", "more=1", "max"] {
            let error = wanted(query).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{query}: expected ")), "{error}");
        }
        assert!(wanted("max=201").unwrap_err().to_string().contains(&RECORDS_MAX.to_string()));
    }

    #[test]
    fn a_listener_on_all_addresses_is_reached_over_loopback() {
        for (bound, reached) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("10.0.0.7:1", "10.0.0.7:1")]
        {
            assert_eq!(reachable(bound.parse().unwrap()), reached.parse().unwrap());
        }
    }

    #[test]
    fn the_page_is_one_file_that_names_no_other_host_and_writes_no_markup() {
        for text in [HTML, CSS, JS] {
            let addresses = text.replace("http://www.w3.org/2000/svg", "");
            assert!(
                !addresses.contains("//cdn")
                    && !addresses.contains("http://")
                    && !addresses.contains("https://")
            );
            assert!(!text.contains("@import") && !text.contains("url("));
        }
        for markup in ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval("] {
            assert!(!JS.contains(markup), "{markup}");
        }
        assert_eq!(HTML.matches("{{css}}").count() + HTML.matches("{{js}}").count(), 2);
    }
}
