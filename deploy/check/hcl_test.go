package check

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclparse"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

func parse(t *testing.T, name string) *hclsyntax.Body {
	t.Helper()
	file, problems := hclparse.NewParser().ParseHCLFile(name)
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	return file.Body.(*hclsyntax.Body)
}

// nomadBlocks are the blocks of a job that the files use, with what Nomad's
// documentation says that may be in them: "block" for blocks, "*" for anything.
func nomadBlocks() map[string][]string {
	return map[string][]string{
		"":           {"block variable", "block job"},
		"variable":   {"type", "default", "description"},
		"job":        {"type", "datacenters", "region", "namespace", "block group"},
		"group":      {"count", "block restart", "block reschedule", "block constraint", "block network", "block task"},
		"restart":    {"attempts", "delay", "interval", "mode", "render_templates"},
		"reschedule": {"attempts", "interval", "delay", "delay_function", "max_delay", "unlimited"},
		"constraint": {"attribute", "operator", "value"},
		"network":    {"mode", "block port"},
		"port":       {"static", "to", "host_network"},
		"task":       {"driver", "kill_timeout", "kill_signal", "user", "block config", "block env", "block template", "block resources"},
		"config":     {"image", "network_mode", "readonly_rootfs", "cap_drop", "security_opt", "volumes", "args", "ports"}, // of the driver docker
		"env":        {"*"},
		"template":   {"data", "destination", "env", "change_mode", "perms"},
		"resources":  {"cpu", "cores", "memory", "memory_max"},
	}
}

func checkNomad(t *testing.T, name string, body *hclsyntax.Body) {
	t.Helper()
	allowed := nomadBlocks()[name]
	for _, a := range body.Attributes {
		if !slices.Contains(allowed, a.Name) && !slices.Contains(allowed, "*") {
			t.Errorf("%s: %q has no %s", a.SrcRange, name, a.Name)
		}
	}
	for _, b := range body.Blocks {
		if !slices.Contains(allowed, "block "+b.Type) {
			t.Errorf("%s: %q has no block %s", b.DefRange(), name, b.Type)
		}
		checkNomad(t, b.Type, b.Body)
	}
}

// blocks are all blocks of a type, at any depth.
func blocks(body *hclsyntax.Body, kind string) (found []*hclsyntax.Block) {
	for _, b := range body.Blocks {
		if b.Type == kind {
			found = append(found, b)
		}
		found = append(found, blocks(b.Body, kind)...)
	}
	return found
}

// constant is the value of an attribute that needs no variables, as text.
func constant(t *testing.T, b *hclsyntax.Block, name string) string {
	t.Helper()
	a := b.Body.Attributes[name]
	if a == nil {
		t.Fatalf("%s has no %s", b.DefRange(), name)
	}
	value, problems := a.Expr.Value(nil)
	if problems.HasErrors() {
		t.Fatal(problems)
	}
	switch value.Type().FriendlyName() {
	case "string":
		return value.AsString()
	case "bool":
		return fmt.Sprint(value.True())
	}
	return value.AsBigFloat().String()
}

func TestNomadFiles(t *testing.T) {
	files, err := filepath.Glob("../nomad/*.hcl")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			body := parse(t, file)
			checkNomad(t, "", body)
			for _, want := range []struct{ block, name, value string }{
				{"job", "type", "batch"}, {"restart", "attempts", "0"}, {"restart", "mode", "fail"},
				{"reschedule", "attempts", "0"}, {"reschedule", "unlimited", "false"}, {"task", "kill_timeout", "15s"},
			} {
				found := blocks(body, want.block)
				if len(found) != 1 {
					t.Fatalf("%d blocks %s", len(found), want.block)
				}
				if got := constant(t, found[0], want.name); got != want.value {
					t.Errorf("%s.%s is %s, want %s", want.block, want.name, got, want.value)
				}
			}
		})
	}
}

// Every variable and resource that the Terraform module refers to is declared.
func TestTerraformModule(t *testing.T) {
	files, err := filepath.Glob("../gce/*.tf")
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	declared := map[string]bool{"path.module": true}
	var used []string
	for _, file := range files {
		body := parse(t, file)
		for _, b := range body.Blocks {
			switch b.Type {
			case "variable":
				declared["var."+b.Labels[0]] = true
			case "resource":
				declared[b.Labels[0]+"."+b.Labels[1]] = true
			case "locals":
				for name := range b.Body.Attributes {
					declared["local."+name] = true
				}
			}
		}
		used = append(used, references(body)...)
	}
	if len(used) < 50 {
		t.Errorf("found %d references; does this test still understand the files?", len(used))
	}
	for _, name := range used {
		if !declared[name] {
			t.Errorf("%s is not declared", name)
		}
	}
	terraform, err := exec.LookPath("terraform")
	if err != nil {
		return
	}
	if out, err := exec.Command(terraform, "fmt", "-check", "-diff", "../gce").CombinedOutput(); err != nil {
		t.Errorf("terraform fmt: %v\n%s", err, out)
	}
}

// references are the first two names of everything that is referred to.
func references(body *hclsyntax.Body) (found []string) {
	visit := func(expression hclsyntax.Expression) {
		for _, traversal := range expression.Variables() {
			if second, ok := traversal[1].(hcl.TraverseAttr); ok && len(traversal) > 1 {
				found = append(found, traversal.RootName()+"."+second.Name)
			}
		}
	}
	for _, a := range body.Attributes {
		if !strings.Contains("type,lifecycle", a.Name) { // "type = string" of a variable is a word of the language
			visit(a.Expr)
		}
	}
	for _, b := range body.Blocks {
		found = append(found, references(b.Body)...)
	}
	return found
}

// read is a file of the repository.
func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
