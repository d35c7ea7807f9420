# A cluster of volley on a regional managed instance group. The nodes find each
# other through the Compute API; the machines stay when the run has ended, until
# `terraform destroy`.

terraform {
  required_version = ">= 1.5"
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.0"
    }
  }
}

locals {
  # REGION-docker.pkg.dev/PROJECT/REPOSITORY/…
  registry = split("/", var.image)

  settings = merge({
    CLUSTER_ENABLED       = "true"
    DISCOVERY_MODE        = "gce"
    CLUSTER_EXPECT        = tostring(var.nodes)
    CLUSTER_REGION        = var.region
    CLUSTER_CONFIG_SOURCE = "gcs"
    GCS_CONFIG_BUCKET     = var.bucket
    GCS_CONFIG_OBJECT     = var.object
  }, var.settings)
}

# What a node may do: list machines, read the plan, its token and its image, and log.

resource "google_service_account" "node" {
  project      = var.project
  account_id   = var.name
  display_name = "volley, nodes of a load test"
}

resource "google_project_iam_custom_role" "peers" {
  project     = var.project
  role_id     = "${replace(var.name, "-", "_")}_peers"
  title       = "volley: find the other nodes"
  permissions = ["compute.instances.list"]
}

resource "google_project_iam_member" "peers" {
  project = var.project
  role    = google_project_iam_custom_role.peers.name
  member  = google_service_account.node.member
}

resource "google_project_iam_member" "logs" {
  project = var.project
  role    = "roles/logging.logWriter"
  member  = google_service_account.node.member
}

resource "google_storage_bucket_iam_member" "plan" {
  bucket = var.bucket
  role   = "roles/storage.objectViewer"
  member = google_service_account.node.member
}

resource "google_secret_manager_secret_iam_member" "token" {
  project   = var.project
  secret_id = var.token_secret
  role      = "roles/secretmanager.secretAccessor"
  member    = google_service_account.node.member
}

resource "google_artifact_registry_repository_iam_member" "image" {
  project    = local.registry[1]
  location   = trimsuffix(local.registry[0], "-docker.pkg.dev")
  repository = local.registry[2]
  role       = "roles/artifactregistry.reader"
  member     = google_service_account.node.member
}

# Who may reach a node: other nodes at one port, and whoever is named at the two others.

resource "google_compute_firewall" "nodes" {
  project                 = var.project
  name                    = "${var.name}-nodes"
  network                 = var.network
  source_service_accounts = [google_service_account.node.email]
  target_service_accounts = [google_service_account.node.email]

  allow {
    protocol = "tcp"
    ports    = ["7000"]
  }
}

resource "google_compute_firewall" "control" {
  count = length(var.control_ranges) > 0 ? 1 : 0

  project                 = var.project
  name                    = "${var.name}-control"
  network                 = var.network
  source_ranges           = var.control_ranges
  target_service_accounts = [google_service_account.node.email]

  allow {
    protocol = "tcp"
    ports    = ["8080", "9090"]
  }
}

resource "google_compute_region_instance_template" "node" {
  project      = var.project
  region       = var.region
  name_prefix  = "${var.name}-"
  machine_type = var.machine_type

  disk {
    source_image = "projects/cos-cloud/global/images/family/cos-stable"
    boot         = true
    disk_size_gb = 10
  }

  network_interface {
    network    = var.network
    subnetwork = var.subnetwork

    dynamic "access_config" {
      for_each = var.private_only ? [] : [1]
      content {}
    }
  }

  service_account {
    email  = google_service_account.node.email
    scopes = ["cloud-platform"]
  }

  shielded_instance_config {
    enable_secure_boot = true
  }

  metadata = {
    user-data              = file("${path.module}/cloud-init.yaml")
    google-logging-enabled = "true"
    volley-image           = var.image
    volley-env             = join("\n", [for name, value in local.settings : "${name}=${value}"])
    volley-secret          = "projects/${var.project}/secrets/${var.token_secret}/versions/latest"
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "google_compute_region_instance_group_manager" "nodes" {
  project            = var.project
  region             = var.region
  name               = var.name
  base_instance_name = var.name
  target_size        = var.nodes

  version {
    instance_template = google_compute_region_instance_template.node.id
  }

  # A test that has ended is no machine that has failed.
  instance_lifecycle_policy {
    default_action_on_failure = "DO_NOTHING"
  }

  update_policy {
    type                         = "OPPORTUNISTIC"
    minimal_action               = "REPLACE"
    instance_redistribution_type = "NONE"
    max_surge_fixed              = 0
    max_unavailable_fixed        = max(var.nodes, 4) # no less than the zones of any region
  }

  depends_on = [
    google_project_iam_member.peers,
    google_storage_bucket_iam_member.plan,
    google_secret_manager_secret_iam_member.token,
    google_artifact_registry_repository_iam_member.image,
    google_compute_firewall.nodes,
  ]
}
