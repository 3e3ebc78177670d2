# Nothing comes in. Name service, time and metadata of the VPC are reached past security groups.

resource "aws_security_group" "worker" {
  #checkov:skip=CKV2_AWS_5:attached by the launch template
  name_prefix = "${var.name_prefix}-worker-"
  description = "File processor workers: HTTPS out, nothing in"
  vpc_id      = var.vpc_id

  lifecycle {
    create_before_destroy = true
  }
}

locals {
  opensearch_port = tonumber(try(regex("^https?://[^/]*:([0-9]+)/?$", var.opensearch_endpoint)[0],
  startswith(var.opensearch_endpoint, "http://") ? "80" : "443"))
  egress_rules = {
    for pair in setproduct(distinct([443, local.opensearch_port]), var.egress_cidr_blocks) :
    "${pair[0]}-${pair[1]}" => { port = pair[0], range = pair[1] }
  }
}

resource "aws_vpc_security_group_egress_rule" "worker" {
  for_each          = local.egress_rules
  security_group_id = aws_security_group.worker.id
  description       = each.value.port == 443 ? "AWS by HTTPS" : "OpenSearch"
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
  cidr_ipv4         = each.value.range
}
