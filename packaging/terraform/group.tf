# The fleet: how instances come, are replaced, and go.

locals {
  launch_hook_name      = "${var.name_prefix}-launch"
  termination_hook_name = "${var.name_prefix}-termination"

  hooks = {
    (local.launch_hook_name) = {
      transition = "autoscaling:EC2_INSTANCE_LAUNCHING"
      seconds    = var.launch_hook_seconds
      # User data that never reports is as bad as user data that reports a failure.
      default_result = "ABANDON"
    }
    (local.termination_hook_name) = {
      transition     = "autoscaling:EC2_INSTANCE_TERMINATING"
      seconds        = var.termination_hook_seconds
      default_result = "CONTINUE"
    }
  }
}

resource "aws_autoscaling_group" "worker" {
  name                = var.asg_name
  vpc_zone_identifier = var.private_subnet_ids
  min_size            = var.min_size
  max_size            = var.max_size
  desired_capacity    = var.desired_capacity

  health_check_type         = "EC2"
  health_check_grace_period = 300
  default_instance_warmup   = var.instance_warmup_seconds
  capacity_rebalance        = true
  termination_policies      = ["OldestLaunchTemplate", "AllocationStrategy", "OldestInstance"]
  # The launch hook tells whether instances come up, in the group's activities; an apply does not wait for that.
  wait_for_capacity_timeout = "0"
  # Time for the drain at a destroy.
  timeouts {
    delete = "20m"
  }

  mixed_instances_policy {
    instances_distribution {
      on_demand_base_capacity                  = var.on_demand_base_capacity
      on_demand_percentage_above_base_capacity = var.on_demand_percentage_above_base
      on_demand_allocation_strategy            = "prioritized"
      spot_allocation_strategy                 = "price-capacity-optimized"
    }
    launch_template {
      launch_template_specification {
        launch_template_id = aws_launch_template.worker.id
        # A number: automatic rollback is refused with $Latest and $Default.
        version = tostring(aws_launch_template.worker.latest_version)
      }
      dynamic "override" {
        for_each = var.instance_types
        content {
          instance_type = override.value
        }
      }
    }
  }

  # Starts when an apply changes the launch template's version.
  instance_refresh {
    strategy = "Rolling"
    preferences {
      min_healthy_percentage       = 100
      max_healthy_percentage       = var.refresh_max_healthy_percentage
      instance_warmup              = var.instance_warmup_seconds
      auto_rollback                = true
      skip_matching                = true
      scale_in_protected_instances = "Refresh"
      standby_instances            = "Ignore"
      alarm_specification {
        alarms = [aws_cloudwatch_metric_alarm.refresh_guard.alarm_name]
      }
    }
  }

  # The first instances come before a hook of its own resource could be there. The resources below are the same hooks
  # and carry later changes.
  dynamic "initial_lifecycle_hook" {
    for_each = local.hooks
    content {
      name                 = initial_lifecycle_hook.key
      lifecycle_transition = initial_lifecycle_hook.value.transition
      heartbeat_timeout    = initial_lifecycle_hook.value.seconds
      default_result       = initial_lifecycle_hook.value.default_result
    }
  }

  metrics_granularity = "1Minute"
  enabled_metrics = [
    "GroupMinSize", "GroupMaxSize", "GroupDesiredCapacity", "GroupInServiceInstances", "GroupPendingInstances",
    "GroupTerminatingInstances", "GroupTotalInstances",
  ]

  dynamic "tag" {
    for_each = merge(local.tags, { Name = "python-worker", ManagedBy = "AutoScaling" })
    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }

  lifecycle {
    # Scaling and schedules own the sizes after the first apply; what people and a blue/green deployment suspend stays
    # suspended, or an apply would wake a drained group. A change of the first hooks would replace the group.
    ignore_changes = [desired_capacity, min_size, suspended_processes, initial_lifecycle_hook]
  }
  # A worker that starts before it has its permissions fails its validation.
  depends_on = [aws_iam_role_policy.worker, aws_vpc_security_group_egress_rule.worker]
}

resource "aws_autoscaling_lifecycle_hook" "worker" {
  for_each               = local.hooks
  name                   = each.key
  autoscaling_group_name = aws_autoscaling_group.worker.name
  lifecycle_transition   = each.value.transition
  heartbeat_timeout      = each.value.seconds
  default_result         = each.value.default_result
}
