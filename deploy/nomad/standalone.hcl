# One node that runs the plan below and exits with its verdict: 0, or 99 if a
# threshold failed.
#
#   nomad job run deploy/nomad/standalone.hcl

variable "image" {
  type    = string
  default = "volley"
}

job "volley-standalone" {
  type = "batch"

  group "node" {
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

    network {
      port "control" {}
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
        volumes         = ["local/config.yaml:/etc/volley/config.yaml:ro"]
      }

      env {
        CLUSTER_NODE_ID     = "${NOMAD_ALLOC_ID}"
        CLUSTER_HEALTH_ADDR = "0.0.0.0:${NOMAD_PORT_control}"
        METRICS_ADDR        = "off"
      }

      template {
        destination = "local/config.yaml"
        data        = <<-PLAN
          version: "1.0"
          config: {baseUrl: "https://staging.example.com", workers: 50, duration: 5m}
          load: {model: rps, target: 200}
          scenarios:
            - name: front page
              steps:
                - request: {method: GET, path: /}
          thresholds: ["p95 < 300ms", "error_rate < 1%"]
        PLAN
      }

      resources {
        cpu    = 1000
        memory = 512
      }
    }
  }
}
