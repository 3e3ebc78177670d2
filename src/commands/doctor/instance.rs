//! Who we are to AWS: credentials, the instance's metadata, and the group's lifecycle hook.

use std::time::Duration;

use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials as _;
use jiff::Timestamp;

use super::finding::{Finding, within};
use crate::aws::outage_of;
use crate::config::Settings;
use crate::health::error_chain;
use crate::health::outage::OutageCause;
use crate::lifecycle::lifecycle_action::{LifecycleAction, UnknownAction};
use crate::lifecycle::metadata::InstanceMetadata;

const CREDENTIALS: &str = "credentials";
const METADATA: &str = "instance metadata";
const HOOK: &str = "lifecycle hook";
const NO_CREDENTIALS: &str = "give the instance its role (instance profile; IMDSv2 must answer: curl -X PUT http://169.254.169.254/latest/api/token -H 'X-aws-ec2-metadata-token-ttl-seconds: 60'), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";

/// The finding, and whether there are any.
pub async fn credentials(sdk_config: &SdkConfig, limit: Duration) -> (Finding, bool) {
    let Some(provider) = sdk_config.credentials_provider() else {
        return (Finding::fail(CREDENTIALS, "no provider", NO_CREDENTIALS), false);
    };
    match tokio::time::timeout(limit, provider.provide_credentials()).await {
        Err(_) => {
            let found = format!("no provider answered within {} s", limit.as_secs());
            (Finding::fail(CREDENTIALS, found, NO_CREDENTIALS), false)
        }
        Ok(Err(error)) => (Finding::fail(CREDENTIALS, error_chain(&error), NO_CREDENTIALS), false),
        Ok(Ok(found)) => {
            let key = found.access_key_id();
            let shown = key.char_indices().rev().nth(3).map_or("", |(start, _)| &key[start..]);
            let until = match found.expiry().and_then(|expiry| Timestamp::try_from(expiry).ok()) {
                Some(expiry) => format!("valid until {}", expiry.strftime("%Y-%m-%d %H:%M:%S UTC")),
                None => "without an end".to_owned(),
            };
            (Finding::ok(CREDENTIALS, format!("access key …{shown}, {until}")), true)
        }
    }
}

/// Metadata and hook. Outside EC2 there are none, which is no failure.
pub async fn examine(settings: &Settings, limit: Duration, has_credentials: bool) -> Vec<Finding> {
    let Some(metadata) = InstanceMetadata::new() else {
        let why = "switched off (AWS_EC2_METADATA_DISABLED)";
        return vec![Finding::skipped(METADATA, why), Finding::skipped(HOOK, why)];
    };
    let id = tokio::time::timeout(limit, metadata.instance_id()).await;
    let Ok(Ok(Some(id))) = id else {
        let why = "no metadata service answers: not on EC2, or IMDS is closed to this process";
        return vec![Finding::skipped(METADATA, why), Finding::skipped(HOOK, why)];
    };
    let hook = within(limit, HOOK, "look at the way to the Auto Scaling endpoint", async {
        hook(settings, &metadata, has_credentials).await
    });
    vec![Finding::ok(METADATA, format!("instance {id}")), hook.await]
}

/// A heartbeat is tried: outside a termination there is no action to prolong and the service says so, unless it refuses
/// us. Completing an action is never tried, since it would end a wait.
async fn hook(settings: &Settings, metadata: &InstanceMetadata, has_credentials: bool) -> Finding {
    if !has_credentials {
        return Finding::skipped(HOOK, "not tried without credentials");
    }
    let action = match LifecycleAction::find(settings, metadata).await {
        Ok(action) => action,
        Err(UnknownAction::Hook) => {
            let found = "LIFECYCLE_HOOK_NAME is not set: a termination waits for the hook's own time-out";
            return Finding::warn(HOOK, found, "set LIFECYCLE_HOOK_NAME to the group's termination hook");
        }
        Err(error) => {
            let advice =
                "set AUTO_SCALING_GROUP_NAME, or switch on instance tags in the launch template's metadata options";
            return Finding::warn(HOOK, error_chain(&error), advice);
        }
    };
    let untried = "autoscaling:CompleteLifecycleAction is not tried, since it would end a wait";
    match action.heartbeat().await {
        Ok(()) => Finding::ok(HOOK, format!("{action}: a termination is on its way; {untried}")),
        Err(error) if outage_of(&error).cause == OutageCause::Refused => Finding::warn(
            HOOK,
            error_chain(&error),
            "allow autoscaling:RecordLifecycleActionHeartbeat and autoscaling:CompleteLifecycleAction on the group in the instance role's policy",
        ),
        Err(error) if error.plain_code() == "ValidationError" => {
            Finding::ok(HOOK, format!("{action}: a heartbeat is not refused (none is due); {untried}"))
        }
        Err(error) => Finding::warn(HOOK, error_chain(&error), "look at the way to the Auto Scaling endpoint"),
    }
}
