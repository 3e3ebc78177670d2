//! The index: reached, fit, and which kinds of requests it takes from us.

use tokio::time::Instant;

use super::finding::{Finding, all_skipped, within};
use super::reach::{self, ClockReading};
use super::{Examined, Servers};
use crate::commands::validate;
use crate::health::error_chain;
use crate::health::outage::{Outage, OutageCause, advice};
use crate::health::status::Dependency;
use crate::index::opensearch::OpenSearchIndex;

const ENDPOINT: &str = "index endpoint";
const INDEX: &str = "index";
const SEARCH: &str = "es:ESHttpPost (search)";
const CHANGE: &str = "es:ESHttpPut (smoke-test index)";
const BEYOND_ENDPOINT: [&str; 3] = [INDEX, SEARCH, CHANGE];

pub async fn examine(context: &Servers<'_>, has_credentials: bool) -> Examined {
    let mut examined = Examined { findings: Vec::new(), clock: None };
    let servers = context.servers;
    let endpoint = servers.opensearch_endpoint.as_str();
    let is_signed = servers.opensearch_basic_auth.is_none();
    let why_not = match (servers.opensearch_endpoint.scheme(), is_signed && !has_credentials) {
        ("file", _) => Some("the index is a folder"),
        (_, true) => Some("not tried without credentials"),
        _ => None,
    };
    if let Some(why) = why_not {
        examined.findings = all_skipped(&[&[ENDPOINT], &BEYOND_ENDPOINT[..]].concat(), why);
        return examined;
    }
    let settings = context.settings;
    let index = match OpenSearchIndex::connect(servers, &settings.region, &settings.index_name, context.sdk_config) {
        Ok(index) => index,
        Err(error) => {
            examined.findings.push(Finding::fail(ENDPOINT, error_chain(&error), "check OPENSEARCH_ENDPOINT"));
            examined.findings.extend(all_skipped(&BEYOND_ENDPOINT, "not tried: see index endpoint"));
            return examined;
        }
    };
    let started = Instant::now();
    let silence = || Outage::new(OutageCause::Unreachable, format!("no answer within {} s", context.limit.as_secs()));
    let look = tokio::time::timeout(context.limit, index.look()).await.unwrap_or_else(|_| Err(silence()));
    match look {
        Err(outage) => {
            examined.findings.push(reach::not_answered(ENDPOINT, endpoint, &outage.detail).await);
            examined.findings.extend(all_skipped(&BEYOND_ENDPOINT, "not tried: the endpoint does not answer"));
            return examined;
        }
        Ok(look) => {
            examined.clock = look.date.as_deref().and_then(ClockReading::now);
            examined.findings.push(reach::answered(ENDPOINT, endpoint, started));
            if let Some(outage) = look.refusal {
                let finding = Finding::fail(INDEX, outage.detail.clone(), action_for(&outage, &settings.index_name));
                examined.findings.push(finding);
                if outage.cause == OutageCause::Missing || outage.cause == OutageCause::Refused {
                    examined.findings.extend(all_skipped(&BEYOND_ENDPOINT[1..], "not tried: see index"));
                    return examined;
                }
            } else {
                examined.findings.push(fitness(context).await);
            }
        }
    }
    let limit = context.limit;
    let run_again = "see index endpoint; if the cluster is busy, run this again";
    let (search, change) = tokio::join!(
        within(limit, SEARCH, run_again, async {
            tried(SEARCH, "allowed", index.try_search().await, &settings.index_name)
        }),
        within(limit, CHANGE, run_again, async {
            tried(CHANGE, "allowed (a change that changes nothing)", index.try_change().await, &settings.index_name)
        }),
    );
    examined.findings.extend([search, change]);
    examined
}

/// `--validate-only`'s check: mapping, and a write of which nothing remains.
async fn fitness(context: &Servers<'_>) -> Finding {
    let action = "for a mapping that does not fit: file-processor-worker --create-index adds what is missing, a field of another type needs a new index; for writes: the domain's access policy for the instance role (es:ESHttpPost on the index), or its blocks and disk space";
    within(context.limit, INDEX, "the cluster is slow: look at its load, then run this again", async {
        Finding::of_check(validate::index_check(context.settings, context.sdk_config).await, action)
    })
    .await
}

fn tried(name: &'static str, allowed: &str, answer: Result<(), Outage>, index_name: &str) -> Finding {
    match answer {
        Ok(()) => Finding::ok(name, allowed),
        Err(outage) => {
            let action = action_for(&outage, index_name);
            Finding::fail(name, outage.detail, action)
        }
    }
}

fn action_for(outage: &Outage, index_name: &str) -> String {
    match outage.cause {
        OutageCause::Refused => format!(
            "allow es:ESHttpGet, es:ESHttpHead, es:ESHttpPost, es:ESHttpPut and es:ESHttpDelete on {index_name}, {index_name}/* and {index_name}-smoke-test* in the instance role's policy and in the domain's access policy (fine-grained access control: map the role); with basic authentication, check OPENSEARCH_USERNAME and OPENSEARCH_PASSWORD; look at the line `clock`"
        ),
        cause => advice(Dependency::Index, cause)
            .unwrap_or("look at what the cluster said; if it passes by itself, run this again")
            .to_owned(),
    }
}
