package check

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// objects are the documents of a file, each as its kind, with no field that the kind lacks.
func objects(t *testing.T, name string) map[string]any {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]any{}
	for i, document := range bytes.Split(text, []byte("\n---\n")) {
		var head struct {
			APIVersion string `json:"apiVersion"`
			Kind       string `json:"kind"`
		}
		if err := yaml.Unmarshal(document, &head); err != nil {
			t.Fatalf("%s, document %d: %v", name, i, err)
		}
		object := map[string]any{
			"v1 ServiceAccount": &corev1.ServiceAccount{}, "v1 Secret": &corev1.Secret{}, "v1 ConfigMap": &corev1.ConfigMap{},
			"v1 Service": &corev1.Service{}, "batch/v1 Job": &batchv1.Job{}, "apps/v1 StatefulSet": &appsv1.StatefulSet{},
		}[head.APIVersion+" "+head.Kind]
		if object == nil {
			t.Fatalf("%s, document %d: no such kind: %+v", name, i, head)
		}
		if err := yaml.UnmarshalStrict(document, object); err != nil {
			t.Errorf("%s, document %d: %v", name, i, err)
		}
		found[head.Kind] = object
	}
	return found
}

func TestKubernetesFiles(t *testing.T) {
	files, err := filepath.Glob("../k8s/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			all := objects(t, file)
			service, ok := all["Service"].(*corev1.Service)
			if !ok {
				t.Fatal("no Service")
			}
			if service.Spec.ClusterIP != corev1.ClusterIPNone || !service.Spec.PublishNotReadyAddresses {
				t.Error("the Service is not headless, or publishes only nodes that are ready")
			}
			pod, nodes := workload(t, all)
			if pod.Labels["app"] != service.Spec.Selector["app"] {
				t.Errorf("the Service selects %v, the Pods have %v", service.Spec.Selector, pod.Labels)
			}
			checkPod(t, pod.Spec, service.Name, nodes)
		})
	}
}

// workload is what makes the nodes, and how many. It never runs a load again by itself.
func workload(t *testing.T, all map[string]any) (corev1.PodTemplateSpec, int32) {
	t.Helper()
	if job, ok := all["Job"].(*batchv1.Job); ok {
		if *job.Spec.BackoffLimit != 0 || job.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyNever {
			t.Error("a Job that runs its load again")
		}
		if *job.Spec.Parallelism != *job.Spec.Completions {
			t.Error("nodes that wait for each other have to run at one time")
		}
		return job.Spec.Template, *job.Spec.Completions
	}
	set, ok := all["StatefulSet"].(*appsv1.StatefulSet)
	if !ok {
		t.Fatal("neither a Job nor a StatefulSet")
	}
	if source := variable(set.Spec.Template.Spec.Containers[0], "CLUSTER_CONFIG_SOURCE"); source != "none" {
		t.Errorf("a StatefulSet is always started again: it must wait for plans, and has the source %q", source)
	}
	if set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement {
		t.Error("nodes that wait for each other have to be started at one time")
	}
	return set.Spec.Template, *set.Spec.Replicas
}

func variable(c corev1.Container, name string) string {
	for _, v := range c.Env {
		if v.Name == name {
			return v.Value
		}
	}
	return ""
}

func checkPod(t *testing.T, pod corev1.PodSpec, service string, nodes int32) {
	t.Helper()
	c := pod.Containers[0]
	for name, want := range map[string]string{
		"DISCOVERY_MODE": "dns", "CLUSTER_NODES": service + ":7000", "CLUSTER_EXPECT": fmt.Sprint(nodes), "CLUSTER_ENABLED": "true",
	} {
		if got := variable(c, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if *pod.TerminationGracePeriodSeconds < 10 {
		t.Error("a node needs up to 8 s to leave")
	}
	s := c.SecurityContext
	if !*pod.SecurityContext.RunAsNonRoot || !*s.ReadOnlyRootFilesystem || *s.AllowPrivilegeEscalation || strings.Join(names(s.Capabilities.Drop), "") != "ALL" {
		t.Error("a node needs no rights at all")
	}
}

func names(capabilities []corev1.Capability) (list []string) {
	for _, c := range capabilities {
		list = append(list, string(c))
	}
	return list
}
