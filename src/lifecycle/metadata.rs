//! The instance metadata service (IMDSv2), which announces the end of the instance before it comes.
//!
//! Asked by a client with little patience: an answer takes a millisecond, and the next look is seconds away. The
//! patient client of [`crate::aws`] is for credentials, which nothing can do without. No drain waits for an answer.

use std::error::Error as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_config::imds;
use aws_config::imds::client::error::{ImdsError, TokenError};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use jiff::{SignedDuration, Timestamp};

use super::interruption::{Cause, Interruptions, SPOT_NOTICE};
use crate::health::events::{MetadataAbsent, MetadataAnswers, MetadataUnavailable};
use crate::health::{emf, error_chain};

/// AWS asks to look every 5 seconds (EC2 user guide, "Spot Instance interruption notices").
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// So often is a service looked for that does not answer at all: it may be late while an instance boots.
const FIRST_LOOKS: u32 = 3;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// One value with its token.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(3);

const INSTANCE_ID: &str = "instance-id";
/// Where instance tags in metadata are switched on.
const GROUP_NAME_TAG: &str = "tags/instance/aws:autoscaling:groupName";
/// There is none before the notice (EC2 user guide).
const SPOT_ACTION: &str = "spot/instance-action";
/// There is none before the recommendation (EC2 user guide).
const REBALANCE: &str = "events/recommendations/rebalance";
/// `InService`, `Terminated`, …; none outside a group (EC2 Auto Scaling user guide, "target lifecycle state").
const TARGET_STATE: &str = "autoscaling/target-lifecycle-state";
const TERMINATED: &str = "Terminated";

/// The SDK's switch against all use of the service.
const DISABLED_VARIABLE: &str = "AWS_EC2_METADATA_DISABLED";

/// The metadata service did not answer, or not as it should.
#[derive(Debug, thiserror::Error)]
pub enum MetadataError {
    #[error("instance metadata {path}: answered with HTTP status {status}")]
    Refused { path: &'static str, status: u16 },
    #[error("instance metadata {path}")]
    NoValue {
        path: &'static str,
        #[source]
        source: Box<ImdsError>,
    },
}

impl MetadataError {
    /// Whether somebody answered: then there is a metadata service, though one in trouble.
    fn is_an_answer(&self) -> bool {
        let MetadataError::NoValue { source, .. } = self else { return true };
        let token_error = source.source().and_then(|error| error.downcast_ref::<SdkError<TokenError, HttpResponse>>());
        matches!(token_error, Some(SdkError::ServiceError(_) | SdkError::ResponseError(_)))
    }
}

/// The metadata service. Where its endpoint is, is the SDK's business (`AWS_EC2_METADATA_SERVICE_ENDPOINT`).
pub struct InstanceMetadata {
    /// The client keeps its token and renews it in time. One that was refused it keeps as well, so it is replaced.
    client: Mutex<imds::Client>,
}

impl InstanceMetadata {
    /// Makes no call. `None` where the SDK is told to leave the service alone (`AWS_EC2_METADATA_DISABLED=true`).
    pub fn new() -> Option<Self> {
        let is_disabled = std::env::var(DISABLED_VARIABLE).is_ok_and(|value| value.eq_ignore_ascii_case("true"));
        (!is_disabled).then(|| Self { client: Mutex::new(new_client()) })
    }

    /// This instance's id.
    pub async fn instance_id(&self) -> Result<Option<String>, MetadataError> {
        self.get(INSTANCE_ID).await
    }

    /// The Auto Scaling group, where instance tags in metadata are switched on.
    pub async fn group_name(&self) -> Result<Option<String>, MetadataError> {
        self.get(GROUP_NAME_TAG).await
    }

    /// What is announced now, and what went wrong in finding out: one place that cannot be read hides no other.
    async fn announced(&self) -> (Vec<Cause>, Option<MetadataError>) {
        let (spot, rebalance, state) = tokio::join!(self.get(SPOT_ACTION), self.get(REBALANCE), self.get(TARGET_STATE));
        let mut trouble = None;
        let mut value = |answer: Result<Option<String>, MetadataError>| {
            answer.unwrap_or_else(|error| {
                trouble = Some(error);
                None
            })
        };
        let spot = value(spot).map(|text| Cause::SpotInterruption { at: time_of_spot_action(&text, Timestamp::now()) });
        let rebalance = value(rebalance).map(|_| Cause::RebalanceRecommendation);
        let terminated = value(state).filter(|state| state.trim() == TERMINATED).map(|_| Cause::LifecycleTermination);
        (spot.into_iter().chain(rebalance).chain(terminated).collect(), trouble)
    }

    /// The value at a path; `None` where there is none.
    async fn get(&self, path: &'static str) -> Result<Option<String>, MetadataError> {
        let mut answer = self.ask(path).await;
        if status(&answer) == Some(401) {
            *self.client.lock().unwrap_or_else(PoisonError::into_inner) = new_client();
            answer = self.ask(path).await;
        }
        match status(&answer) {
            Some(404) => Ok(None),
            Some(status) => Err(MetadataError::Refused { path, status }),
            None => answer
                .map(|text| Some(text.into()))
                .map_err(|source| MetadataError::NoValue { path, source: Box::new(source) }),
        }
    }

    async fn ask(&self, path: &'static str) -> Result<imds::client::SensitiveString, ImdsError> {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner).clone();
        client.get(format!("/latest/meta-data/{path}")).await
    }
}

fn status<T>(answer: &Result<T, ImdsError>) -> Option<u16> {
    match answer {
        Err(ImdsError::ErrorResponse(refusal)) => Some(refusal.response().status().as_u16()),
        _ => None,
    }
}

fn new_client() -> imds::Client {
    imds::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .operation_attempt_timeout(OPERATION_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        // The next look is the next attempt.
        .max_attempts(1)
        .build()
}

/// Reports what is announced, each notice once, for as long as it is polled. Ends by itself where there is no metadata
/// service. A service that answered before and then does not is polled on.
pub async fn watch(metadata: &InstanceMetadata, interruptions: &Interruptions) {
    let mut reported: Vec<Cause> = Vec::new();
    let mut found = false;
    let mut in_trouble = false;
    let mut looks = 0_u32;
    let mut ticks = tokio::time::interval(POLL_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        looks = looks.saturating_add(1);
        let (causes, trouble) = metadata.announced().await;
        for cause in causes {
            if !reported.contains(&cause) {
                reported.push(cause);
                interruptions.report(cause);
            }
        }
        match trouble {
            None => {
                if !found || in_trouble {
                    MetadataAnswers.emit();
                }
                if !found && let Ok(Some(id)) = metadata.instance_id().await {
                    emf::set_instance_id(&id);
                }
                (found, in_trouble) = (true, false);
            }
            Some(error) => {
                found |= error.is_an_answer();
                if found && !in_trouble {
                    in_trouble = true;
                    MetadataUnavailable { error: &error_chain(&error) }.emit();
                } else if !found && looks >= FIRST_LOOKS {
                    MetadataAbsent { why: &error_chain(&error) }.emit();
                    return;
                }
            }
        }
    }
}

/// `{"action":"terminate","time":"2026-11-22T08:22:00Z"}`. A notice that cannot be read is a notice all the same, of
/// the usual length.
fn time_of_spot_action(text: &str, now: Timestamp) -> Timestamp {
    let action: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    if let Some(time) = action["time"].as_str().and_then(|time| time.parse().ok()) {
        return time;
    }
    log::warn!(notice:% = text; "spot notice without a readable time, taken for one of two minutes");
    let usual = SignedDuration::try_from(SPOT_NOTICE).unwrap_or_default();
    now.saturating_add(usual).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_spot_notice_is_read_and_assumed_where_it_cannot_be() {
        let now: Timestamp = "2026-11-22T08:20:00Z".parse().unwrap();
        let at = |text| time_of_spot_action(text, now).to_string();
        assert_eq!(at(r#"{"action": "terminate", "time": "2026-11-22T08:21:30Z"}"#), "2026-11-22T08:21:30Z");
        assert_eq!(at(r#"{"action": "stop", "time": "2026-11-22T17:21:30+09:00"}"#), "2026-11-22T08:21:30Z");
        for unreadable in ["", "terminate", r#"{"action":"hibernate"}"#, r#"{"time":"soon"}"#] {
            assert_eq!(at(unreadable), "2026-11-22T08:22:00Z", "{unreadable}");
        }
    }
}
