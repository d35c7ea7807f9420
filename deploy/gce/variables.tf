variable "project" {
  type        = string
  description = "Project of everything here."
}

variable "region" {
  type        = string
  description = "Region of the machines, which are spread over its zones."
}

variable "name" {
  type        = string
  default     = "volley"
  description = "Name of the instance group, the service account and the firewall rules."
}

variable "nodes" {
  type        = number
  default     = 3
  description = "Number of machines, which is CLUSTER_EXPECT as well."
}

variable "machine_type" {
  type        = string
  default     = "e2-standard-4"
  description = "A node has an engine that may take all processors."
}

variable "image" {
  type        = string
  description = "The image in Artifact Registry: REGION-docker.pkg.dev/PROJECT/REPOSITORY/volley:TAG."

  validation {
    condition     = can(regex("^[a-z0-9-]+-docker\\.pkg\\.dev/[^/]+/[^/]+/", var.image))
    error_message = "Want REGION-docker.pkg.dev/PROJECT/REPOSITORY/IMAGE:TAG."
  }
}

variable "network" {
  type        = string
  default     = "default"
  description = "Network of the machines."
}

variable "subnetwork" {
  type        = string
  default     = "default"
  description = "Subnetwork of the machines. With private_only it needs Private Google Access."
}

variable "private_only" {
  type        = bool
  default     = true
  description = "No public address: the target is reached inside the network, or by Cloud NAT."
}

variable "bucket" {
  type        = string
  description = "Bucket of the plan."
}

variable "object" {
  type        = string
  default     = "loadtest/config.yaml"
  description = "Object of the plan in the bucket."
}

variable "token_secret" {
  type        = string
  description = "Name of a secret in Secret Manager that holds CLUSTER_TOKEN."
}

variable "settings" {
  type        = map(string)
  default     = {}
  description = "More variables as `volley env` lists them."
}

variable "control_ranges" {
  type        = list(string)
  default     = []
  description = "Addresses, as CIDR ranges, that may reach the control API (8080) and the metrics (9090); none by default."
}
