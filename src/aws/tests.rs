use super::testing::{Answer, ScriptedServer, test_config};
use super::*;

#[tokio::test]
async fn a_slow_metadata_service_of_a_booting_instance_is_waited_for() {
    let server = ScriptedServer::start(vec![
        Answer::new(503, ""),
        // Longer than the SDK's own limit of one second.
        Answer::new(200, "the-token")
            .header("x-aws-ec2-metadata-token-ttl-seconds", "21600")
            .after(Duration::from_millis(1500)),
        Answer::new(200, "i-0123"),
    ])
    .await;
    let client = metadata_client_builder().endpoint(&server.endpoint).unwrap().build();
    let instance_id = client.get("/latest/meta-data/instance-id").await.unwrap();
    assert_eq!(instance_id.as_ref(), "i-0123");
}

/// The SDK reads the metadata service's address from its process's environment: asked in a process of its own.
#[tokio::test]
async fn without_keys_in_the_environment_credentials_come_from_the_metadata_service() {
    let role_credentials = serde_json::json!({
        "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z", "Expiration": "2100-01-01T00:00:00Z",
        "AccessKeyId": "role-key", "SecretAccessKey": "role-secret", "Token": "role-token",
    });
    let server = ScriptedServer::start(vec![
        Answer::new(200, "the-token").header("x-aws-ec2-metadata-token-ttl-seconds", "21600"),
        Answer::new(200, "the-role"),
        Answer::new(200, role_credentials.to_string()),
    ])
    .await;
    let asking = tokio::task::spawn_blocking({
        let endpoint = server.endpoint.clone();
        move || {
            std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--ignored", "--exact", "aws::tests::asks_the_metadata_service"])
                .env_clear()
                .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint)
                .output()
        }
    });
    let output = asking.await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
}

#[tokio::test]
#[ignore = "run by another test, with a metadata service in its environment"]
async fn asks_the_metadata_service() {
    let provider = sdk_config("us-east-1").await.credentials_provider().unwrap();
    let credentials = aws_sdk_sqs::config::ProvideCredentials::provide_credentials(&provider).await.unwrap();
    assert_eq!((credentials.access_key_id(), credentials.session_token()), ("role-key", Some("role-token")));
}

#[tokio::test]
async fn the_configuration_names_region_and_application() {
    let config = sdk_config("ap-northeast-1").await;
    assert_eq!(config.region().map(Region::as_ref), Some("ap-northeast-1"));
    assert_eq!(config.app_name().map(|name| name.as_ref().to_owned()).as_deref(), Some(APPLICATION_NAME));
}

#[tokio::test]
async fn an_s3_endpoint_means_path_style() {
    let server = ScriptedServer::start(vec![Answer::new(200, "")]).await;
    let config = test_config(&server.endpoint).await;
    s3_client(&config).head_bucket().bucket("some-bucket").send().await.unwrap();
    assert!(server.requests()[0].starts_with("HEAD /some-bucket"), "{:?}", server.requests());
}

#[tokio::test]
async fn a_receive_outlives_the_long_poll_and_not_a_dead_connection() {
    let server = ScriptedServer::start(vec![Answer::new(200, "{}").after(Duration::from_secs(3600))]).await;
    let client = sqs_receive_client(&test_config(&server.endpoint).await, Duration::from_secs(20));
    let limits = client.config().timeout_config().cloned().unwrap();
    assert_eq!(limits.operation_attempt_timeout(), Some(Duration::from_secs(30)));
}

/// Hands out `key-0`, `key-1`, …, each valid for an hour.
#[derive(Debug, Default)]
struct Numbered(std::sync::atomic::AtomicUsize);

impl aws_sdk_sqs::config::ProvideCredentials for Numbered {
    fn provide_credentials<'a>(&'a self) -> aws_credential_types::provider::future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let number = self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let expiry = std::time::SystemTime::now() + Duration::from_secs(3600);
        let credentials =
            aws_sdk_sqs::config::Credentials::new(format!("key-{number}"), "secret", None, Some(expiry), "test");
        aws_credential_types::provider::future::ProvideCredentials::ready(Ok(credentials))
    }
}

async fn config_with_numbered_keys(endpoint: &str) -> SdkConfig {
    let provider = SharedCredentialsProvider::new(Numbered::default());
    test_config(endpoint).await.into_builder().credentials_provider(provider).build()
}

/// The access keys that the requests were signed with.
fn keys_of(server: &ScriptedServer) -> Vec<String> {
    let key_of = |request: String| {
        let (_, credential) = request.split_once("Credential=").expect("a signed request");
        credential.split('/').next().unwrap_or_default().to_owned()
    };
    server.requests().into_iter().map(key_of).collect()
}

fn s3_refusal(code: &str) -> Answer {
    Answer::new(400, format!("<Error><Code>{code}</Code><Message>no</Message></Error>"))
}

#[tokio::test]
async fn s3_gets_fresh_credentials_once_when_they_are_refused_and_keeps_them() {
    for refusal in [s3_refusal("ExpiredToken"), s3_refusal("InvalidAccessKeyId"), s3_refusal("TokenRefreshRequired")] {
        let server = ScriptedServer::start(vec![refusal, Answer::new(200, "x")]).await;
        let client = s3_client(&config_with_numbered_keys(&server.endpoint).await);
        for _ in 0..2 {
            client.get_object().bucket("some-bucket").key("a").send().await.unwrap();
        }
        assert_eq!(keys_of(&server), ["key-0", "key-1", "key-1"]);
    }
}

#[tokio::test]
async fn the_answer_to_a_head_has_no_body_and_counts_as_a_refusal_all_the_same() {
    let server = ScriptedServer::start(vec![Answer::new(400, ""), Answer::new(200, "")]).await;
    let client = s3_probe_client(&config_with_numbered_keys(&server.endpoint).await);
    client.head_bucket().bucket("some-bucket").send().await.unwrap();
    assert_eq!(keys_of(&server), ["key-0", "key-1"]);
}

#[tokio::test]
async fn sqs_gets_fresh_credentials_once_when_they_are_refused() {
    let server = ScriptedServer::start(vec![
        Answer::sqs_error("ExpiredTokenException", "The security token included in the request is expired"),
        Answer::new(200, "{}").header("content-type", "application/x-amz-json-1.0"),
    ])
    .await;
    let client = sqs_client(&config_with_numbered_keys(&server.endpoint).await);
    client.purge_queue().queue_url("http://x/1/q").send().await.unwrap();
    assert_eq!(keys_of(&server), ["key-0", "key-1"]);
}

#[tokio::test]
async fn credentials_that_stay_refused_end_the_call_after_the_second_try() {
    let server = ScriptedServer::start(vec![s3_refusal("InvalidAccessKeyId")]).await;
    let client = s3_client(&config_with_numbered_keys(&server.endpoint).await);
    let error = client.get_object().bucket("some-bucket").key("a").send().await.unwrap_err();
    let outage = outage_of(&CallError::new("GetObject", "a", error));
    assert_eq!(outage.cause, crate::health::outage::OutageCause::Refused);
    assert_eq!(keys_of(&server), ["key-0", "key-1"]);
}

#[tokio::test]
async fn another_refusal_than_that_of_credentials_is_not_tried_again() {
    let server = ScriptedServer::start(vec![s3_refusal("AccessDenied")]).await;
    let client = s3_client(&config_with_numbered_keys(&server.endpoint).await);
    client.get_object().bucket("some-bucket").key("a").send().await.unwrap_err();
    assert_eq!(keys_of(&server), ["key-0"]);
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_unreachable() {
    let nobody = "http://127.0.0.1:1";
    let cause = async |config: &SdkConfig| {
        let error = s3_probe_client(config).head_bucket().bucket("some-bucket").send().await.unwrap_err();
        outage_of(&CallError::new("HeadBucket", "some-bucket", error)).cause
    };
    let config = test_config(nobody).await;
    assert_eq!(cause(&config).await, crate::health::outage::OutageCause::Unreachable);
}
