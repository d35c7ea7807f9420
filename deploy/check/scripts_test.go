package check

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/api/cloudbuild/v1"
	"sigs.k8s.io/yaml"
)

// stage is a folder with commands that only write down how they were called,
// in a file of it; replies are what some of them print.
type stage struct {
	t      *testing.T
	folder string
}

func newStage(t *testing.T, replies map[string]string, commands ...string) *stage {
	t.Helper()
	s := &stage{t: t, folder: t.TempDir()}
	for _, name := range commands {
		body := "#!/bin/sh\nprintf '%s\\n' \"" + name + " $*\" >> " + s.folder + "/calls\n" + replies[name]
		if err := os.WriteFile(filepath.Join(s.folder, name), []byte(body), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// run runs a script and returns its calls of the stage's commands.
func (s *stage) run(shell, script string, environment ...string) string {
	s.t.Helper()
	command := exec.Command(shell, "-c", script)
	command.Env = append([]string{"PATH=" + s.folder + ":" + os.Getenv("PATH")}, environment...)
	if out, err := command.CombinedOutput(); err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
	calls, err := os.ReadFile(filepath.Join(s.folder, "calls"))
	if err != nil && !os.IsNotExist(err) {
		s.t.Fatal(err)
	}
	return string(calls)
}

// cloudBuild is cloudbuild.yaml, with no field that Cloud Build lacks.
func cloudBuild(t *testing.T) *cloudbuild.Build {
	t.Helper()
	text, err := yaml.YAMLToJSONStrict([]byte(read(t, "../../cloudbuild.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	build := &cloudbuild.Build{}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(build); err != nil {
		t.Fatal(err)
	}
	return build
}

// Each step of cloudbuild.yaml runs, and asks for what it should.
func TestCloudBuild(t *testing.T) {
	build := cloudBuild(t)
	if !build.Options.AutomapSubstitutions || !build.Options.DynamicSubstitutions {
		t.Error("the scripts' variables are substitutions: want them mapped")
	}
	var ids []string
	for _, step := range build.Steps {
		ids = append(ids, step.Id)
	}
	if got := strings.Join(ids, " "); got != "test build push deploy" {
		t.Errorf("steps %s", got)
	}
	for _, c := range []struct {
		step string
		set  []string
		want string
	}{
		{"test", nil, "go vet ./...\ngo test -short ./...\n"},
		{"build", nil, "docker build --platform linux/amd64 --build-arg BUILDER=golang:1.26 --build-arg VERSION=1.2.3 --build-arg REVISION=unknown -t r/volley:1.2.3-amd64 .\n" +
			"docker build --platform linux/arm64 --build-arg BUILDER=golang:1.26 --build-arg VERSION=1.2.3 --build-arg REVISION=unknown -t r/volley:1.2.3-arm64 .\n"},
		{"build", []string{"_ARCHITECTURES=arm64", "COMMIT_SHA=0123abc"},
			"docker build --platform linux/arm64 --build-arg BUILDER=golang:1.26 --build-arg VERSION=1.2.3 --build-arg REVISION=0123abc -t r/volley:1.2.3-arm64 .\n"},
		{"push", nil, "docker push r/volley:1.2.3-amd64\ndocker push r/volley:1.2.3-arm64\n" +
			"docker manifest create r/volley:1.2.3 r/volley:1.2.3-amd64 r/volley:1.2.3-arm64\ndocker manifest push r/volley:1.2.3\n"},
		{"deploy", nil, ""},
		{"deploy", []string{"_SERVICE=volley"}, "gcloud run deploy volley --image r/volley:1.2.3 --region europe-west1 --no-cpu-throttling --min-instances=1 --max-instances=1 --no-allow-unauthenticated\n"},
	} {
		t.Run(c.step, func(t *testing.T) {
			set := []string{"_IMAGE=r/volley", "_VERSION=1.2.3"}
			for name, value := range build.Substitutions {
				if name != "_IMAGE" && name != "_VERSION" {
					set = append(set, name+"="+value)
				}
			}
			for _, step := range build.Steps {
				if step.Id != c.step {
					continue
				}
				got := newStage(t, nil, "go", "docker", "gcloud").run("bash", step.Script, append(set, c.set...)...)
				if got != c.want {
					t.Errorf("it calls\n%s\nwant\n%s", got, c.want)
				}
			}
		})
	}
}

// cloudInit is what deploy/gce/cloud-init.yaml writes, by path, and runs.
func cloudInit(t *testing.T) (files map[string]string, commands []string) {
	t.Helper()
	text := read(t, "../gce/cloud-init.yaml")
	if !strings.HasPrefix(text, "#cloud-config\n") {
		t.Error("its first line has to be #cloud-config")
	}
	var config struct {
		WriteFiles []struct {
			Path        string `json:"path"`
			Permissions string `json:"permissions"`
			Content     string `json:"content"`
		} `json:"write_files"`
		RunCmd []string `json:"runcmd"`
	}
	if err := yaml.UnmarshalStrict([]byte(text), &config); err != nil {
		t.Fatal(err)
	}
	files = map[string]string{}
	for _, f := range config.WriteFiles {
		files[f.Path] = f.Content
	}
	return files, config.RunCmd
}

// What a machine does before its node starts, with a metadata server and a
// Secret Manager that are played.
func TestCloudInitPrepares(t *testing.T) {
	files, _ := cloudInit(t)
	const curl = `for last; do :; done
case "$last" in
*/attributes/volley-image) echo europe-docker.pkg.dev/p/r/volley:1 ;;
*/attributes/volley-env) printf 'CLUSTER_ENABLED=true\nCLUSTER_EXPECT=3' ;;
*/attributes/volley-secret) echo projects/p/secrets/s/versions/latest ;;
*/service-accounts/default/token) echo '{"access_token":"ya29.x","expires_in":3599}' ;;
https://secretmanager.googleapis.com/v1/projects/p/secrets/s/versions/latest:access) printf '{\n "name": "n",\n "payload": {\n  "data": "aHVzaA=="\n }\n}\n' ;;
*) exit 22 ;;
esac
`
	s := newStage(t, map[string]string{"curl": curl, "iptables": `[ "$2" != -C ]` + "\n"}, "curl", "docker-credential-gcr", "iptables")
	run := t.TempDir()
	calls := s.run("sh", files["/var/lib/volley/prepare.sh"], "RUNTIME_DIRECTORY="+run)
	if got, want := read(t, filepath.Join(run, "env")), "CLUSTER_ENABLED=true\nCLUSTER_EXPECT=3\nCLUSTER_TOKEN=hush\n"; got != want {
		t.Errorf("the environment is\n%s\nwant\n%s", got, want)
	}
	if got := read(t, filepath.Join(run, "image")); got != "europe-docker.pkg.dev/p/r/volley:1\n" {
		t.Errorf("the image is %q", got)
	}
	if info, err := os.Stat(filepath.Join(run, "env")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the token can be read by others: %v, %v", info.Mode(), err)
	}
	for _, want := range []string{
		"docker-credential-gcr configure-docker --registries=europe-docker.pkg.dev\n", "Authorization: Bearer ya29.x https://secretmanager",
		"iptables -w -A INPUT -p tcp --dport 7000 -j ACCEPT\n", "iptables -w -A INPUT -p tcp --dport 8080 -j ACCEPT\n", "iptables -w -A INPUT -p tcp --dport 9090 -j ACCEPT\n",
	} {
		if !strings.Contains(calls, want) {
			t.Errorf("no call of %q in\n%s", want, calls)
		}
	}
}

// A test that has ended is not run again, neither by systemd nor after a reboot.
func TestCloudInitRunsOnce(t *testing.T) {
	files, commands := cloudInit(t)
	unit := files["/etc/systemd/system/volley.service"]
	for _, want := range []string{
		"ConditionPathExists=!/var/lib/volley/ended\n", "Restart=on-failure\n", "RestartSec=10\n", "RestartPreventExitStatus=1 99 102 104 105\n", "ExecStartPre=/bin/sh -c '/bin/sh /var/lib/volley/prepare.sh || exit 75'\n",
		"--network=host", "--read-only", "--cap-drop=ALL",
	} {
		if !strings.Contains(unit, want) {
			t.Errorf("the unit has no %q:\n%s", want, unit)
		}
	}
	if last := commands[len(commands)-1]; last != "systemctl start --no-block volley.service" {
		t.Errorf("at last it runs %q", last)
	}
	_, after, _ := strings.Cut(unit, "ExecStopPost=/bin/sh -c '")
	script, _, _ := strings.Cut(after, "'\n")
	for status, ended := range map[string]bool{"0": true, "1": true, "99": true, "102": true, "104": true, "105": true, "2": false, "75": false, "125": false, "137": false} {
		calls := newStage(t, nil, "touch").run("sh", script, "EXIT_STATUS="+status)
		if (calls == "touch /var/lib/volley/ended\n") != ended {
			t.Errorf("after exit code %s it calls %q", status, calls)
		}
	}
}

// The Compose file is read by docker-compose itself, which CI always has.
func TestComposeIsUnderstood(t *testing.T) {
	compose, err := exec.LookPath("docker-compose")
	if err != nil && os.Getenv("CI") == "true" {
		t.Fatal("no docker-compose: apt-get install docker-compose")
	}
	if err != nil {
		t.Skip("no docker-compose here: whether it understands the file is not tested (apt-get install docker-compose)")
	}
	out, err := exec.Command(compose, "-f", "../compose.yaml", "config", "--services").CombinedOutput()
	if services := strings.Fields(string(out)); err != nil || len(services) != 6 {
		t.Errorf("docker-compose config: %v, services %q", err, services)
	}
}

// Compose: no node is restarted, and all are as sealed as elsewhere.
func TestComposeRestartsNothing(t *testing.T) {
	var file struct {
		Node struct {
			Restart  string   `json:"restart"`
			ReadOnly bool     `json:"read_only"`
			CapDrop  []string `json:"cap_drop"`
			Grace    string   `json:"stop_grace_period"`
		} `json:"x-node"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "../compose.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	if n := file.Node; n.Restart != "no" || !n.ReadOnly || strings.Join(n.CapDrop, "") != "ALL" || n.Grace != "15s" {
		t.Errorf("%+v", n)
	}
}
