# Three nodes on three clients that meet in Consul and run the plan of its key
# loadtest/config (consul kv put loadtest/config @config.yaml).
#
#   nomad var put nomad/jobs/volley token=$(openssl rand -hex 32)
#   nomad job run deploy/nomad/cluster.hcl
#   nomad job run -var nodes=5 -var image=REGISTRY/volley:1.2.3 deploy/nomad/cluster.hcl

variable "image" {
  type    = string
  default = "volley"
}

variable "nodes" {
  type    = number
  default = 3
}

job "volley" {
  type = "batch"

  group "node" {
    count = var.nodes

    # A test that has ended is no task that has crashed: started again, it would
    # run the same load again.
    restart {
      attempts = 0
      mode     = "fail"
    }
    reschedule {
      attempts  = 0
      unlimited = false
    }

    constraint {
      operator = "distinct_hosts"
      value    = "true"
    }

    network {
      port "cluster" {}
      port "control" {}
      port "metrics" {}
    }

    task "volley" {
      driver       = "docker"
      kill_timeout = "15s"

      config {
        image           = var.image
        network_mode    = "host"
        readonly_rootfs = true
        cap_drop        = ["all"]
        security_opt    = ["no-new-privileges"]
      }

      env {
        CLUSTER_ENABLED        = "true"
        CLUSTER_NODE_ID        = "${NOMAD_JOB_NAME}-${NOMAD_ALLOC_INDEX}"
        CLUSTER_REGION         = "${node.datacenter}"
        CLUSTER_BIND_ADDR      = "0.0.0.0:${NOMAD_PORT_cluster}"
        CLUSTER_ADVERTISE_ADDR = "${NOMAD_ADDR_cluster}"
        CLUSTER_HEALTH_ADDR    = "0.0.0.0:${NOMAD_PORT_control}"
        METRICS_ADDR           = "0.0.0.0:${NOMAD_PORT_metrics}"
        DISCOVERY_MODE         = "consul"
        CLUSTER_EXPECT         = "${var.nodes}"
        CLUSTER_CONFIG_SOURCE  = "consul-kv"
      }

      # volley registers itself in Consul, so there is no service here.
      template {
        data        = "CLUSTER_TOKEN={{ with nomadVar \"nomad/jobs/volley\" }}{{ .token }}{{ end }}"
        destination = "${NOMAD_SECRETS_DIR}/volley.env"
        env         = true
      }

      resources {
        cpu    = 1000
        memory = 512
      }
    }
  }
}
