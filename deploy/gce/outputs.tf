output "service_account" {
  value       = google_service_account.node.email
  description = "What the nodes run as."
}

output "instance_group" {
  value       = google_compute_region_instance_group_manager.nodes.id
  description = "The managed instance group."
}
