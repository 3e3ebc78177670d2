# The worker's machine image by Packer: the same scripts that a person runs by hand.
#
#   packer init packaging/packer
#   packer build -var rpm=FILE -var releasever=2023.9.20251110 -var git_commit=$(git rev-parse HEAD) packaging/packer
#
# Old images are removed by scripts/prune-amis.sh, which knows what is in use; Packer does not.

packer {
  required_version = ">= 1.9.0"
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.3.3, < 2.0.0"
    }
  }
}

variable "rpm" {
  type        = string
  description = "The worker's RPM, as scripts/build-rpm.sh makes it."
}

variable "releasever" {
  type        = string
  description = "Version of Amazon Linux's repositories, which decides every package, such as 2023.9.20251110."

  validation {
    condition     = regex_replace(var.releasever, "^2023\\.[0-9]+\\.[0-9]{8}$", "") == ""
    error_message = "The version is not one of Amazon Linux 2023, such as 2023.9.20251110."
  }
}

variable "git_commit" {
  type        = string
  description = "Commit that the RPM is of; becomes the tag GitCommit."

  validation {
    condition     = regex_replace(var.git_commit, "^[0-9a-f]{7,40}$", "") == ""
    error_message = "This is not a commit's hash."
  }
}

variable "environment" {
  type        = string
  description = "Tag Environment."
  default     = "production"
}

variable "region" {
  type    = string
  default = "ap-northeast-1"
}

variable "architecture" {
  type        = string
  description = "Processor that the image is for: x86_64 or arm64. The RPM has to be for the same."
  default     = "x86_64"

  validation {
    condition     = contains(["x86_64", "arm64"], var.architecture)
    error_message = "The architecture is x86_64 or arm64."
  }
}

variable "instance_type" {
  type        = string
  description = "The builder; it proves the worker, so its processor has to have AVX2 (x86_64)."
  default     = "t3.large"
}

variable "subnet_id" {
  type        = string
  description = "Subnet of the builder; it has to reach SSM and the package repositories. Empty: the default one."
  default     = ""
}

variable "instance_profile" {
  type        = string
  description = "Instance profile of the builder; AmazonSSMManagedInstanceCore is enough."
  default     = "FileProcessorBuilderRole"
}

variable "kms_key_id" {
  type        = string
  description = "Key of the image's snapshot. Empty: the account's default key."
  default     = ""
}

variable "manifest" {
  type        = string
  description = "Where Packer writes the image's id."
  default     = "packer-manifest.json"
}

locals {
  stamp = formatdate("YYYYMMDD-hhmmss", timestamp())
  name  = "file-processor-worker-v${local.stamp}"
  tags = {
    Name        = local.name
    Environment = var.environment
    Application = "file-processor"
    GitCommit   = var.git_commit
    SourceAmi   = "{{ .SourceAMI }}"
  }
}

source "amazon-ebs" "worker" {
  region          = var.region
  instance_type   = var.instance_type
  subnet_id       = var.subnet_id
  ami_name        = local.name
  ami_description = "File processor worker, commit ${var.git_commit}"

  # The base image by owner and name: the newest of Amazon's own, standard (not minimal: it has the SSM agent).
  source_ami_filter {
    owners      = ["amazon"]
    most_recent = true
    filters = {
      name                = "al2023-ami-2023.*-kernel-6.*-${var.architecture}"
      architecture        = var.architecture
      virtualization-type = "hvm"
      root-device-type    = "ebs"
    }
  }

  launch_block_device_mappings {
    device_name           = "/dev/xvda"
    volume_type           = "gp3"
    volume_size           = 30
    iops                  = 3000
    throughput            = 125
    encrypted             = true
    kms_key_id            = var.kms_key_id
    delete_on_termination = true
  }

  # Of instances of the image, then of the builder itself.
  imds_support = "v2.0"
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  # No port is open: the connection goes through SSM.
  communicator         = "ssh"
  ssh_interface        = "session_manager"
  ssh_username         = "ec2-user"
  iam_instance_profile = var.instance_profile

  # The clean-up ends the builder when its audit has passed; Packer makes the image of a stopped machine, and none at all
  # when it does not stop.
  disable_stop_instance = true
  shutdown_behavior     = "stop"
  aws_polling {
    delay_seconds = 15
    max_attempts  = 240
  }

  tags            = local.tags
  snapshot_tags   = local.tags
  run_tags        = { Name = "file-processor-ami-builder", Application = "file-processor", Environment = var.environment }
  run_volume_tags = { Name = "file-processor-ami-builder", Application = "file-processor" }
}

build {
  sources = ["source.amazon-ebs.worker"]

  provisioner "shell" {
    inline = ["mkdir -p /tmp/build"]
  }

  provisioner "file" {
    sources     = [var.rpm, "${path.root}/../../scripts/build-ami.sh", "${path.root}/../../scripts/ami-cleanup.sh"]
    destination = "/tmp/build/"
  }

  provisioner "shell" {
    inline = [
      "cd /tmp/build && sudo bash build-ami.sh --releasever ${var.releasever} --rpm ${basename(var.rpm)}",
      "sudo install -m 0644 /etc/file-processor/ami-manifest.json /tmp/build/",
    ]
  }

  # What is inside, for whoever keeps the build's records.
  provisioner "file" {
    direction   = "download"
    source      = "/tmp/build/ami-manifest.json"
    destination = "ami-manifest.json"
  }

  # As a unit of its own, because it takes away the connection that starts it; a moment later, so that Packer can hang up
  # first. What it says is in the console output.
  provisioner "shell" {
    inline = [
      "sudo systemd-run --quiet --on-active=5s --unit=ami-cleanup --property=StandardOutput=journal+console --property=StandardError=journal+console /bin/bash /tmp/build/ami-cleanup.sh --power-off",
    ]
    skip_clean        = true
    expect_disconnect = true
  }

  post-processor "manifest" {
    output     = var.manifest
    strip_path = true
  }
}
