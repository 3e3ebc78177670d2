# The workflow's two roles: who may take them, and what they may do. Run with -var-file=terraform.tfvars.example.

mock_provider "aws" {
  source = "./tests/mocks"
}

run "nothing_without_a_repository" {
  assert {
    condition = alltrue([
      length(aws_iam_role.github) + length(aws_iam_role_policy.github) + length(aws_iam_openid_connect_provider.github) == 0,
      output.image_role_arn == null, output.deploy_role_arn == null,
    ])
    error_message = "no role that nobody asked for"
  }
}

run "a_role_for_each_environment" {
  variables {
    github_repository = "example-org/file-processor"
  }
  assert {
    condition     = toset(values(aws_iam_role.github)[*].name) == toset(["file-processor-image-role", "file-processor-deploy-role"])
    error_message = "one role builds, the other deploys"
  }
  assert {
    condition     = aws_iam_openid_connect_provider.github[0].url == "https://token.actions.githubusercontent.com" && aws_iam_openid_connect_provider.github[0].client_id_list == toset(["sts.amazonaws.com"])
    error_message = "GitHub's tokens, made out for AWS"
  }
  assert {
    condition = alltrue([for environment, document in data.aws_iam_policy_document.github_assume : alltrue([
      length(document.statement) == 1,
      document.statement[0].actions == toset(["sts:AssumeRoleWithWebIdentity"]),
      one(document.statement[0].principals).identifiers == toset([aws_iam_openid_connect_provider.github[0].arn]),
      { for condition in document.statement[0].condition : "${condition.test} ${condition.variable}" => one(condition.values) } == {
        "StringEquals token.actions.githubusercontent.com:aud" = "sts.amazonaws.com"
        "StringEquals token.actions.githubusercontent.com:sub" = "repo:example-org/file-processor:environment:${environment}"
      },
    ])])
    error_message = "only a job of that repository and environment"
  }
  assert {
    condition     = alltrue([for role in aws_iam_role.github : role.max_session_duration == 7200])
    error_message = "as long as the workflow asks for"
  }

  assert {
    condition = !anytrue([for statement in concat(data.aws_iam_policy_document.deploy.statement, data.aws_iam_policy_document.image.statement) :
    anytrue([for action in statement.actions : strcontains(action, "*")])])
    error_message = "every action is named"
  }
  assert {
    condition = [for s in concat(data.aws_iam_policy_document.deploy.statement, data.aws_iam_policy_document.image.statement) :
    s.sid if contains(s.resources, "*")] == ["Look", "Look"]
    error_message = "what changes something names what it changes"
  }
  assert {
    condition = alltrue([for s in concat(data.aws_iam_policy_document.deploy.statement, data.aws_iam_policy_document.image.statement) :
    alltrue([for action in s.actions : can(regex(":Describe", action))]) if s.sid == "Look"])
    error_message = "looking changes nothing"
  }
  assert {
    condition     = [for c in one([for s in data.aws_iam_policy_document.deploy.statement : s.condition if s.sid == "InstancesOfTheTemplate"]) : "${c.variable} ${one(c.values)}"] == ["ec2:LaunchTemplate ${aws_launch_template.worker.arn}"]
    error_message = "instances of our launch template only"
  }
  assert {
    condition = toset(one([for s in data.aws_iam_policy_document.deploy.statement : s.resources if s.sid == "Groups"])) == toset([
      "arn:aws:autoscaling:ap-northeast-1:123456789012:autoScalingGroup:*:autoScalingGroupName/cis-filesearch-worker-asg",
      "arn:aws:autoscaling:ap-northeast-1:123456789012:autoScalingGroup:*:autoScalingGroupName/cis-filesearch-worker-asg-green",
    ])
    error_message = "the group and its other colour"
  }
  assert {
    condition = one([for s in data.aws_iam_policy_document.deploy.statement : s.resources if s.sid == "RoleOfInstances"]) == toset([aws_iam_role.worker.arn]) && (
      one([for s in data.aws_iam_policy_document.image.statement : s.resources if s.sid == "RoleOfTheBuilder"]) == toset(["arn:aws:iam::123456789012:role/FileProcessorBuilderRole"])
    )
    error_message = "each hands on one role and no other"
  }
  # A fleet's instance carries the tag Application, too: the builder is told by its name.
  assert {
    condition = alltrue([for s in data.aws_iam_policy_document.image.statement :
    [for c in s.condition : one(c.values)] == ["file-processor-ami-builder"] if contains(s.actions, "ec2:TerminateInstances") || s.sid == "Builder"])
    error_message = "it starts and ends builders, never an instance of the fleet"
  }
}

run "a_provider_that_is_there" {
  variables {
    github_repository        = "example-org/file-processor"
    github_oidc_provider_arn = "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"
    kms_key_arn              = "arn:aws:kms:ap-northeast-1:123456789012:key/11111111-2222-3333-4444-555555555555"
  }
  assert {
    condition = length(aws_iam_openid_connect_provider.github) == 0 && alltrue([for document in data.aws_iam_policy_document.github_assume :
    one(document.statement[0].principals).identifiers == toset([var.github_oidc_provider_arn])])
    error_message = "an account has at most one"
  }
  assert {
    condition = alltrue([for s in concat(data.aws_iam_policy_document.deploy.statement, data.aws_iam_policy_document.image.statement) :
    s.resources == toset([var.kms_key_arn]) if startswith(s.sid, "Key")])
    error_message = "the one key"
  }
}

run "refuses_what_is_no_repository" {
  command = plan
  variables {
    github_repository        = "https://github.com/example-org/file-processor"
    github_oidc_provider_arn = "arn:aws:iam::123456789012:oidc-provider/example.com"
    builder_role_name        = "path/role"
  }
  expect_failures = [
    var.github_repository,
    var.github_oidc_provider_arn,
    var.builder_role_name,
  ]
}
