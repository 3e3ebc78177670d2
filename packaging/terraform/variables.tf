# Where, what and how many. The worker's own settings are in variables-worker.tf, thresholds in variables-alarms.tf.

variable "aws_region" {
  description = "Region of queue, fleet and alarms."
  type        = string
  default     = "ap-northeast-1"
  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.aws_region))
    error_message = "aws_region is a region's name, such as ap-northeast-1."
  }
}

variable "environment" {
  description = "Value of the tag Environment, such as production."
  type        = string
  default     = "production"
  validation {
    condition     = can(regex("^[A-Za-z0-9._-]{1,64}$", var.environment))
    error_message = "environment is 1 to 64 letters, digits, dots, dashes or underscores."
  }
}

variable "git_commit" {
  description = "Value of the tag GitCommit: the commit that the image was built from."
  type        = string
  default     = "unknown"
  validation {
    condition     = can(regex("^([0-9a-f]{7,40}|unknown)$", var.git_commit))
    error_message = "git_commit is 7 to 40 hexadecimal digits, or unknown."
  }
}

variable "additional_tags" {
  description = "Further tags of every resource. Environment, Application and GitCommit are set by the module."
  type        = map(string)
  default     = {}
  validation {
    # Instances show their tags in their metadata, and with that EC2 refuses other characters in a tag's name.
    condition     = alltrue([for name in keys(var.additional_tags) : can(regex("^[A-Za-z0-9+=.,_:@-]{1,128}$", name))])
    error_message = "Names in additional_tags are letters, digits and + = . , _ : @ -, without spaces and slashes."
  }
}

# --- image and instances ---

variable "ami_id" {
  description = "The worker's image, as scripts/build-ami.sh made it. After a deployment by deploy-new-ami.sh set the new one here, or the next apply returns to the old one."
  type        = string
  validation {
    condition     = can(regex("^ami-([0-9a-f]{8}|[0-9a-f]{17})$", var.ami_id))
    error_message = "ami_id is ami- with 8 or 17 hexadecimal digits."
  }
}

variable "launch_template_name" {
  description = "Name of the launch template; scripts/deploy-new-ami.sh takes it as LAUNCH_TEMPLATE_NAME."
  type        = string
  default     = "python-worker-template-v1"
  validation {
    condition     = can(regex("^[a-zA-Z0-9().\\-/_]{3,128}$", var.launch_template_name))
    error_message = "launch_template_name is 3 to 128 letters, digits or ( ) . - / _."
  }
}

variable "asg_name" {
  description = "Name of the Auto Scaling group; scripts/deploy-new-ami.sh takes it as ASG_NAME. Permissions also cover groups named with it, a dash and more, as a blue/green deployment makes."
  type        = string
  default     = "cis-filesearch-worker-asg"
  validation {
    condition     = can(regex("^[a-zA-Z0-9_-]{1,64}$", var.asg_name))
    error_message = "asg_name is 1 to 64 letters, digits, dashes or underscores."
  }
}

variable "name_prefix" {
  description = "Prefix of the names of role, security group, rules and alarms."
  type        = string
  default     = "file-processor"
  validation {
    condition     = can(regex("^[a-zA-Z][a-zA-Z0-9-]{0,31}$", var.name_prefix))
    error_message = "name_prefix is a letter and at most 31 letters, digits or dashes."
  }
}

variable "instance_types" {
  description = "Instance types of the fleet, the preferred one first. One image has one architecture: do not mix x86_64 and Graviton. All need the same number of processors, for the backlog per instance means the same on each. More types find more spot capacity."
  type        = list(string)
  default     = ["c5.xlarge", "c6i.xlarge", "c5d.xlarge", "m5.xlarge", "m6i.xlarge"]
  validation {
    condition     = length(var.instance_types) >= 1 && length(var.instance_types) <= 40 && length(distinct(var.instance_types)) == length(var.instance_types)
    error_message = "instance_types is 1 to 40 different types."
  }
  validation {
    condition     = alltrue([for type in var.instance_types : can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", type))])
    error_message = "Every one of instance_types is a type's name, such as c5.xlarge."
  }
  validation {
    condition     = length(distinct([for type in var.instance_types : can(regex("^[a-z]+[0-9]+g", type))])) <= 1
    error_message = "instance_types mixes Graviton (aarch64) and x86_64; one image runs on one of them only."
  }
}

variable "on_demand_base_capacity" {
  description = "So many instances are never spot."
  type        = number
  default     = 1
  validation {
    condition     = var.on_demand_base_capacity >= 0 && floor(var.on_demand_base_capacity) == var.on_demand_base_capacity
    error_message = "on_demand_base_capacity is a whole number, 0 or more."
  }
}

variable "on_demand_percentage_above_base" {
  description = "Per cent of the instances above on_demand_base_capacity that are on-demand; the rest is spot."
  type        = number
  default     = 0
  validation {
    condition     = var.on_demand_percentage_above_base >= 0 && var.on_demand_percentage_above_base <= 100
    error_message = "on_demand_percentage_above_base is 0 to 100."
  }
}

variable "root_volume_gb" {
  description = "Size of the encrypted gp3 root volume; files that are being read lie on it (SPOOL_MB)."
  type        = number
  default     = 30
  validation {
    condition     = var.root_volume_gb >= 30 && var.root_volume_gb <= 16384
    error_message = "root_volume_gb is 30 to 16384."
  }
}

variable "key_pair_name" {
  description = "EC2 key pair for SSH. Without one, Session Manager is the way in; no port is open either way."
  type        = string
  default     = null
}

# --- network ---

variable "vpc_id" {
  description = "The network of the fleet."
  type        = string
  validation {
    condition     = can(regex("^vpc-[0-9a-f]{8,17}$", var.vpc_id))
    error_message = "vpc_id is vpc- with 8 to 17 hexadecimal digits."
  }
}

variable "private_subnet_ids" {
  description = "Subnets of the instances, best in different availability zones, with a way to SQS, S3, OpenSearch, CloudWatch, Auto Scaling and SSM (NAT or endpoints)."
  type        = list(string)
  validation {
    condition     = length(var.private_subnet_ids) >= 1 && alltrue([for id in var.private_subnet_ids : can(regex("^subnet-[0-9a-f]{8,17}$", id))])
    error_message = "private_subnet_ids is a list of at least one subnet- with 8 to 17 hexadecimal digits."
  }
}

variable "egress_cidr_blocks" {
  description = "IPv4 ranges that instances may reach by HTTPS. The whole Internet, unless interface endpoints make it narrower; an S3 gateway endpoint needs the ranges of S3."
  type        = list(string)
  default     = ["0.0.0.0/0"]
  validation {
    condition     = length(var.egress_cidr_blocks) > 0 && alltrue([for range in var.egress_cidr_blocks : can(cidrnetmask(range))])
    error_message = "egress_cidr_blocks is a list of at least one IPv4 range, such as 10.0.0.0/16."
  }
}

# --- size ---

variable "min_size" {
  description = "Instances at least, from the group's creation to the first schedule. Afterwards schedules decide, and an apply leaves it alone."
  type        = number
  default     = 1
  validation {
    condition     = var.min_size >= 0 && floor(var.min_size) == var.min_size
    error_message = "min_size is a whole number, 0 or more."
  }
}

variable "desired_capacity" {
  description = "Instances at the creation of the group. Afterwards scaling decides, and an apply leaves it alone."
  type        = number
  default     = 2
  validation {
    condition     = var.desired_capacity >= var.min_size && var.desired_capacity <= var.max_size
    error_message = "desired_capacity is between min_size and max_size."
  }
}

variable "max_size" {
  description = "Instances at most."
  type        = number
  default     = 10
  validation {
    condition     = var.max_size >= 1 && var.max_size >= var.min_size && floor(var.max_size) == var.max_size
    error_message = "max_size is a whole number, 1 or more and not less than min_size."
  }
}

variable "acceptable_latency_seconds" {
  description = "How long a message may wait. Divided by seconds_per_message it is the backlog per instance that scaling aims at."
  type        = number
  default     = 600
  validation {
    condition     = var.acceptable_latency_seconds >= 60 && var.acceptable_latency_seconds <= 86400
    error_message = "acceptable_latency_seconds is 60 to 86400."
  }
}

variable "seconds_per_message" {
  description = "Mean time that one instance needs for one message: its ProcessingTime divided by the documents it reads at once. 6 s gives the 100 messages per instance of old."
  type        = number
  default     = 6
  validation {
    condition     = var.seconds_per_message > 0 && var.seconds_per_message <= var.acceptable_latency_seconds
    error_message = "seconds_per_message is more than 0 and no more than acceptable_latency_seconds."
  }
}

variable "schedules" {
  description = "Recurring changes of the group's size. Cron expressions with five fields, in Japan's time."
  type = map(object({
    recurrence       = string
    min_size         = number
    desired_capacity = number
  }))
  default = {
    scale-up-morning   = { recurrence = "0 8 * * MON-FRI", min_size = 3, desired_capacity = 5 }
    scale-down-evening = { recurrence = "0 20 * * *", min_size = 1, desired_capacity = 2 }
  }
  validation {
    condition = alltrue([for schedule in values(var.schedules) : can(regex(
      "^([0-9]{1,2}|\\*)( [0-9*,/-]+){2} [0-9A-Z*,/-]+ [0-9A-Z*,/-]+$", schedule.recurrence
    ))])
    error_message = "A schedule's recurrence is five cron fields, such as \"0 8 * * MON-FRI\"."
  }
  validation {
    condition     = alltrue([for schedule in values(var.schedules) : schedule.min_size <= schedule.desired_capacity && schedule.desired_capacity <= var.max_size])
    error_message = "In every schedule min_size <= desired_capacity <= max_size."
  }
}

variable "schedule_time_zone" {
  description = "Time zone of the schedules."
  type        = string
  default     = "Asia/Tokyo"
  validation {
    condition     = can(regex("^(UTC|[A-Z][A-Za-z_]+/[A-Z][A-Za-z_/]+)$", var.schedule_time_zone))
    error_message = "schedule_time_zone is a name of the time zone database, such as Asia/Tokyo."
  }
}

# --- replacing instances ---

variable "refresh_max_healthy_percentage" {
  description = "An instance refresh launches before it terminates: up to so many per cent of the desired capacity run meanwhile."
  type        = number
  default     = 150
  validation {
    condition     = var.refresh_max_healthy_percentage > 100 && var.refresh_max_healthy_percentage <= 200
    error_message = "refresh_max_healthy_percentage is 101 to 200: with 100 nothing could be launched before something is terminated."
  }
}

variable "instance_warmup_seconds" {
  description = "Time after which a new instance counts in scaling and in a refresh. The launch hook already waits for READY."
  type        = number
  default     = 120
  validation {
    condition     = var.instance_warmup_seconds >= 0 && var.instance_warmup_seconds <= 3600
    error_message = "instance_warmup_seconds is 0 to 3600."
  }
}

variable "launch_hook_seconds" {
  description = "Time that user data has until it reports; then the instance is given up."
  type        = number
  default     = 900
  validation {
    condition     = var.launch_hook_seconds >= 300 && var.launch_hook_seconds <= 7200
    error_message = "launch_hook_seconds is 300 to 7200."
  }
}

variable "termination_hook_seconds" {
  description = "Heartbeat of the termination hook. The worker prolongs it every 15 seconds while it drains, and completes it."
  type        = number
  default     = 120
  validation {
    condition     = var.termination_hook_seconds >= 30 && var.termination_hook_seconds <= 7200
    error_message = "termination_hook_seconds is 30 to 7200."
  }
}
