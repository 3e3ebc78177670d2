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

#[test]
fn error_codes_lose_their_decoration() {
    assert_eq!(plain_code("AWS.SimpleQueueService.MessageNotInflight"), "MessageNotInflight");
    assert_eq!(plain_code("InvalidParameterValueException"), "InvalidParameterValue");
    assert_eq!(plain_code("com.amazonaws.sqs#ReceiptHandleIsInvalid"), "ReceiptHandleIsInvalid");
    assert_eq!(plain_code(""), "");
}
