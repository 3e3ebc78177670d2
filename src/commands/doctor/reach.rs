//! The way to a server, stage by stage, and its clock beside ours.
//!
//! The address is the one that the SDK really used: endpoints come from variables, from a profile or from the region,
//! and only the client knows which. So each client of the doctor has a [`Witness`].

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_sqs::config::interceptors::{
    BeforeDeserializationInterceptorContextRef, BeforeTransmitInterceptorContextRef,
};
use aws_sdk_sqs::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_sqs::error::BoxError;
use jiff::{SignedDuration, Timestamp};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};
use url::Url;

use super::finding::Finding;

/// Name look-up, and connecting: each may take so long when the cause of a failure is looked for.
const STAGE_TIMEOUT: Duration = Duration::from_secs(3);
/// Requests are refused when their signature is older or younger than five minutes (SigV4; S3 allows fifteen).
const SKEW_REFUSED: SignedDuration = SignedDuration::from_secs(5 * 60);
/// The Time Sync Service keeps clocks within milliseconds: a minute is a clock that nobody keeps.
const SKEW_DOUBTFUL: SignedDuration = SignedDuration::from_secs(60);

/// The server's clock beside ours, at the moment of its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    pub server: Timestamp,
    pub ours: Timestamp,
}

impl ClockReading {
    /// From an answer that has just come, by its `Date` header.
    pub fn now(date_header: &str) -> Option<Self> {
        let server = jiff::fmt::rfc2822::parse(date_header).ok()?.timestamp();
        Some(Self { server, ours: Timestamp::now() })
    }

    /// How far our clock is ahead.
    fn skew(&self) -> SignedDuration {
        self.server.duration_until(self.ours)
    }
}

/// Sees where a client's requests go and what time the answers are from.
#[derive(Clone, Debug, Default)]
pub struct Witness(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    url: Option<String>,
    clock: Option<ClockReading>,
}

impl Witness {
    /// Where the last request went; `None` when none was sent.
    pub fn url(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).url.clone()
    }

    pub fn clock(&self) -> Option<ClockReading> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clock
    }
}

impl Intercept for Witness {
    fn name(&self) -> &'static str {
        "Witness"
    }

    fn read_before_transmit(
        &self,
        context: &BeforeTransmitInterceptorContextRef<'_>,
        _runtime_components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).url = Some(context.request().uri().to_owned());
        Ok(())
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _runtime_components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let clock = context.response().headers().get("date").and_then(ClockReading::now);
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clock = clock.or(seen.clock);
        Ok(())
    }
}

/// The finding for a server that answered.
pub fn answered(name: &'static str, url: &str, since: Instant) -> Finding {
    let milliseconds = since.elapsed().as_millis();
    Finding::ok(name, format!("{} answers after {milliseconds} ms", origin(url)))
}

/// The finding for a server that did not answer, with the stage at which the way ended. `trouble` is what the client
/// said.
pub async fn not_answered(name: &'static str, url: &str, trouble: &str) -> Finding {
    let place = origin(url);
    let Some((host, port)) = host_and_port(url) else {
        return Finding::fail(name, format!("{place}: {trouble}"), "check the address");
    };
    let addresses: Vec<_> = match timeout(STAGE_TIMEOUT, lookup_host((host.as_str(), port))).await {
        Ok(Ok(found)) => found.collect(),
        Ok(Err(error)) => return name_unknown(name, &place, &error.to_string()),
        Err(_) => return name_unknown(name, &place, "the name server does not answer"),
    };
    let Some(first) = addresses.first() else { return name_unknown(name, &place, "it has no address") };
    match timeout(STAGE_TIMEOUT, TcpStream::connect(&addresses[..])).await {
        Err(_) => Finding::fail(
            name,
            format!("{place}: the name is known ({first}), no connection within {} s", STAGE_TIMEOUT.as_secs()),
            format!(
                "open the way from this instance to port {port}: outbound rule of its security group, a route to a NAT gateway or a VPC endpoint, and the security group of the endpoint or domain"
            ),
        ),
        Ok(Err(error)) => Finding::fail(
            name,
            format!("{place}: the name is known ({first}), no connection: {error}"),
            "nothing listens there: check scheme, host and port of the endpoint, and that the server runs",
        ),
        Ok(Ok(_)) => Finding::fail(
            name,
            format!("{place}: connected ({first}), but no answer to the request: {trouble}"),
            "check http against https, the certificate (AWS_CA_BUNDLE; OPENSEARCH_VERIFY_CERTS for the cluster), a proxy in between, and whether the server hangs",
        ),
    }
}

fn name_unknown(name: &'static str, place: &str, why: &str) -> Finding {
    Finding::fail(
        name,
        format!("{place}: the name cannot be resolved: {why}"),
        "check the spelling of the endpoint and AWS_REGION, and that the VPC resolves names (enableDnsSupport, private DNS of the VPC endpoint)",
    )
}

/// Scheme, host and port, without a path and without a password.
fn origin(url: &str) -> String {
    match Url::parse(url) {
        Ok(parsed) => parsed.origin().ascii_serialization(),
        Err(_) => url.to_owned(),
    }
}

fn host_and_port(url: &str) -> Option<(String, u16)> {
    let parsed = Url::parse(url).ok()?;
    let host = parsed.host_str()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    Some((host, parsed.port_or_known_default()?))
}

/// Our clock beside those of the servers. Every signature carries the time.
pub fn clock_finding(readings: &[(&str, Option<ClockReading>)]) -> Finding {
    let skews: Vec<(&str, SignedDuration)> =
        readings.iter().filter_map(|(server, reading)| Some((*server, reading.as_ref()?.skew()))).collect();
    let Some(worst) = skews.iter().map(|(_, skew)| skew.abs()).max() else {
        return Finding::skipped("clock", "no server answered with its time");
    };
    let shown: Vec<String> = skews.iter().map(|(server, skew)| format!("{server} {}", spelled(*skew))).collect();
    let found = format!("this machine's clock: {}", shown.join(", "));
    let action =
        "set the clock: systemctl restart chronyd; chronyc sources (the Amazon Time Sync Service is 169.254.169.123)";
    if worst >= SKEW_REFUSED {
        Finding::fail("clock", format!("{found}; signatures are refused from 5 minutes on (S3: 15)"), action)
    } else if worst >= SKEW_DOUBTFUL {
        Finding::warn("clock", found, action)
    } else {
        Finding::ok("clock", found)
    }
}

fn spelled(skew: SignedDuration) -> String {
    match skew.as_secs() {
        0 => "agrees".to_owned(),
        seconds if seconds > 0 => format!("{seconds} s ahead"),
        seconds => format!("{} s behind", -seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict;
    use super::*;

    fn reading(ahead_seconds: i64) -> Option<ClockReading> {
        let server = Timestamp::UNIX_EPOCH;
        Some(ClockReading { server, ours: server + SignedDuration::from_secs(ahead_seconds) })
    }

    #[test]
    fn a_clock_is_judged_by_what_signatures_bear() {
        let cases = [
            (0, Verdict::Ok, "agrees"),
            (59, Verdict::Ok, "59 s ahead"),
            (-60, Verdict::Warn, "60 s behind"),
            (299, Verdict::Warn, "299 s ahead"),
            (-300, Verdict::Fail, "300 s behind"),
        ];
        for (seconds, verdict, words) in cases {
            let finding = clock_finding(&[("SQS", reading(seconds)), ("S3", None)]);
            assert_eq!(finding.verdict, verdict, "{seconds}");
            assert!(finding.found.contains(words), "{}", finding.found);
        }
        assert_eq!(clock_finding(&[("SQS", None)]).verdict, Verdict::Skipped);
    }

    #[test]
    fn the_time_of_an_answer_is_read_as_http_writes_it() {
        let reading = ClockReading::now("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(reading.server.to_string(), "1994-11-06T08:49:37Z");
        assert_eq!(ClockReading::now("yesterday"), None);
    }

    #[test]
    fn an_address_is_shown_without_what_is_secret_in_it() {
        assert_eq!(origin("https://user:secret@search.example:9200/a?b"), "https://search.example:9200");
        assert_eq!(host_and_port("https://sqs.example/x"), Some(("sqs.example".to_owned(), 443)));
        assert_eq!(host_and_port("http://[::1]:9/"), Some(("::1".to_owned(), 9)));
    }
}
