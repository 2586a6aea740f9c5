//! Who is answered: whoever may connect, but no page of another origin in somebody's browser.
//!
//! A browser lets a foreign page send requests here, though not read the answers, unless its own name was made to
//! point here (DNS rebinding): then the request bears that name. On a loopback address only loopback names are
//! answered. Where HTTP is open to other hosts its own names are not known, and whoever reaches the port, such a page
//! too, reads `/metrics`: the names of topics and groups with the most traffic, and counts. Records, client ids and
//! addresses have no password of their own: what tells them is told on a loopback address only.
//!
//! Source: RFC 9110, 7.2 (Host); W3C, "Fetch Metadata Request Headers".

use std::net::{IpAddr, SocketAddr};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

/// Where HTTP is answered.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Door {
    /// The address that is bound.
    pub(in super::super) bound: SocketAddr,
}

/// Refuses a name that is not this host's, and tells browsers to keep the answers to themselves.
pub(super) async fn known_names_only(State(door): State<Door>, request: Request, next: Next) -> Response {
    if !is_known_name(&door, request.headers()) {
        let why = "this address answers to localhost and to loopback addresses only\n";
        return (StatusCode::MISDIRECTED_REQUEST, why).into_response();
    }
    let mut response = next.run(request).await;
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// Refuses what a page of another origin asks, and everybody where other hosts can ask.
pub(super) async fn own_pages_only(State(door): State<Door>, request: Request, next: Next) -> Response {
    let why = match () {
        () if !door.bound.ip().is_loopback() => {
            "topics, records and clients are told on a loopback address only"
        }
        () if is_foreign(request.headers()) => {
            "topics, records and clients are told to this broker's own page only"
        }
        () => return next.run(request).await,
    };
    super::json(StatusCode::FORBIDDEN, &serde_json::json!({ "error": why }))
}

fn is_known_name(door: &Door, headers: &HeaderMap) -> bool {
    // No browser leaves it out.
    let Some(host) = headers.get(header::HOST) else { return true };
    !door.bound.ip().is_loopback() || host.to_str().is_ok_and(is_loopback_name)
}

fn is_loopback_name(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let name_address = name.parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost")
        || address.or(name_address).is_ok_and(|address| address.is_loopback())
}

fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value: &HeaderValue| value.to_str().unwrap_or("?"));
    let foreign_site = text("sec-fetch-site").is_some_and(|site| !["same-origin", "none"].contains(&site));
    let own = format!("http://{}", text("host").unwrap_or_default());
    foreign_site || text("origin").is_some_and(|origin| origin != own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn door(bound: &str) -> Door {
        Door { bound: bound.parse().unwrap() }
    }

    #[test]
    fn on_loopback_only_loopback_names_are_known() {
        let known = [
            "localhost",
            "localhost:9644",
            "LocalHost:1",
            "127.0.0.1",
            "127.0.0.1:9644",
            "127.9.9.9",
            "[::1]",
            "[::1]:9644",
        ];
        let unknown = [
            "evil.example",
            "evil.example:9644",
            "localhost.evil.example",
            "127.0.0.1.evil.example:9644",
            "10.0.0.1",
            "localhost:x",
            "",
            "[::2]:1",
            "0.0.0.0:9644",
            "evil@localhost",
        ];
        let is_known = |host| is_known_name(&door("127.0.0.1:9644"), &headers(&[("host", host)]));
        known.into_iter().for_each(|host| assert!(is_known(host), "{host}"));
        unknown.into_iter().for_each(|host| assert!(!is_known(host), "{host}"));
        assert!(is_known_name(&door("127.0.0.1:9644"), &HeaderMap::new()));
        assert!(is_known_name(&door("10.0.0.1:9644"), &headers(&[("host", "broker-7.example:9644")])));
    }

    #[test]
    fn a_page_of_another_origin_is_foreign() {
        let own = ("host", "localhost:9644");
        for right in [
            &[own][..],
            &[own, ("sec-fetch-site", "same-origin")],
            &[own, ("sec-fetch-site", "none")],
            &[own, ("origin", "http://localhost:9644")],
        ] {
            assert!(!is_foreign(&headers(right)), "{right:?}");
        }
        for wrong in [
            &[own, ("sec-fetch-site", "cross-site")][..],
            &[own, ("sec-fetch-site", "same-site")],
            &[own, ("origin", "http://localhost:1")],
            &[own, ("origin", "null")],
        ] {
            assert!(is_foreign(&headers(wrong)), "{wrong:?}");
        }
    }
}
