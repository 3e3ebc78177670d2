# Who may build and deploy without keys of their own.

variable "github_repository" {
  description = "OWNER/NAME of the repository on GitHub whose workflow builds and deploys images. Makes a role for each of its environments ami-build and production; null makes none."
  type        = string
  default     = null
  validation {
    condition     = var.github_repository == null || can(regex("^[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+$", var.github_repository))
    error_message = "github_repository is OWNER/NAME, without a host."
  }
}

variable "github_oidc_provider_arn" {
  description = "GitHub's identity provider in IAM. An account has at most one: null makes it."
  type        = string
  default     = null
  validation {
    condition     = var.github_oidc_provider_arn == null || can(regex("^arn:[a-z-]+:iam::[0-9]{12}:oidc-provider/token\\.actions\\.githubusercontent\\.com$", var.github_oidc_provider_arn))
    error_message = "github_oidc_provider_arn is arn:aws:iam::ACCOUNT:oidc-provider/token.actions.githubusercontent.com."
  }
}

variable "builder_role_name" {
  description = "Role and instance profile of the machine that an image is built on (Packer's instance_profile). It exists already; AmazonSSMManagedInstanceCore is enough."
  type        = string
  default     = "FileProcessorBuilderRole"
  validation {
    condition     = can(regex("^[A-Za-z0-9+=,.@_-]{1,64}$", var.builder_role_name))
    error_message = "builder_role_name is a role's name, without path."
  }
}
