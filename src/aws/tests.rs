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

/// Needs the test bed's metadata service: the SDK reads its endpoint from the process's environment.
#[tokio::test]
async fn without_keys_in_the_environment_credentials_come_from_the_metadata_service() {
    let has_variable = |name: &str| std::env::var_os(name).is_some();
    if !has_variable("AWS_EC2_METADATA_SERVICE_ENDPOINT") || has_variable("AWS_ACCESS_KEY_ID") {
        println!("skipped: AWS_EC2_METADATA_SERVICE_ENDPOINT names no server, or keys are set");
        return;
    }
    let provider = sdk_config("us-east-1").await.credentials_provider().unwrap();
    let credentials = aws_sdk_sqs::config::ProvideCredentials::provide_credentials(&provider).await.unwrap();
    assert!(credentials.session_token().is_some(), "a role's credentials have a token");
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
