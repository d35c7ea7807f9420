package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// room is what the packages of one folder may see; changes to the table are
// explained in docs/adr.
type room struct {
	ours   []string // packages of this module; a room stands for all that is in it
	banned []string // outside packages, and all below them, that it must not import itself
}

const (
	raft      = "github.com/hashicorp/raft"
	boltdb    = "github.com/hashicorp/raft-boltdb"
	grpc      = "google.golang.org/grpc"
	consul    = "github.com/hashicorp/consul"
	google    = "cloud.google.com/go"
	googleAPI = "google.golang.org/api"
	envconfig = "github.com/kelseyhightower/envconfig"
)

// rooms is the import table; what is not listed here is no room.
func rooms() map[string]room {
	return map[string]room{
		"settings": {banned: []string{raft, boltdb, grpc, consul, google, googleAPI}},
		"plan":     {banned: []string{raft, boltdb, grpc, consul, google, googleAPI, envconfig, "net/http", "net/rpc", "net/smtp", "crypto/tls"}},
		"stats":    {ours: []string{"plan"}, banned: []string{raft, boltdb, grpc, envconfig}},
		"sources":  {banned: []string{raft, boltdb, grpc, envconfig}},
		"meeting":  {ours: []string{"sources"}, banned: []string{raft, boltdb, grpc, consul, google, googleAPI, envconfig}},
		"loadgen":  {ours: []string{"plan", "stats"}, banned: []string{raft, boltdb, grpc, consul, google, googleAPI, envconfig}},
		"node":     {banned: []string{grpc, envconfig}},
		"door":     {banned: []string{raft, boltdb, grpc, consul, google, googleAPI, envconfig}},
		"grpcsvc":  {ours: []string{"door", "node", "stats"}, banned: []string{envconfig}},
		"otlp":     {ours: []string{"stats"}, banned: []string{raft, boltdb, consul, google, googleAPI, envconfig}},
		"page":     {ours: []string{"stats"}, banned: []string{raft, boltdb, grpc, consul, google, googleAPI, envconfig, "net/http"}},
		"control":  {ours: []string{"door", "page", "stats"}, banned: []string{raft, boltdb, grpc, envconfig}},
		"e2e":      {ours: []string{"grpcsvc/pb"}, banned: []string{envconfig}},
	}
}

// unbound may import what they like: the wiring at the root, and folders of
// tests and programs beside the product.
func unbound() []string { return []string{"", "bench", "docs", "examples", "deploy"} }

// listed is what `go list -json` says of a package.
type listed struct {
	ImportPath   string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

const module = "volley"

func TestImportTable(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	// -e: a package that does not compile is the compiler's to report.
	command := exec.CommandContext(ctx, "go", "list", "-e", "-json=ImportPath,Imports,TestImports,XTestImports", "./...")
	out, err := command.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen := map[string]bool{}
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var pkg listed
		if err := decoder.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen[roomOf(pkg.ImportPath)] = true
		for _, wrong := range importViolations(pkg) {
			t.Error(wrong)
		}
	}
	for _, name := range []string{"settings", "plan", "stats", "loadgen", "node", "control"} {
		if !seen[name] {
			t.Errorf("go list did not see the room %s", name)
		}
	}
}

func roomOf(importPath string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(importPath, module), "/"), "/")
	return name
}

// importViolations says what a package imports against the table. Tests are
// free, but those of e2e, which is all tests and knows public ports only.
func importViolations(pkg listed) []string {
	name := roomOf(pkg.ImportPath)
	if slices.Contains(unbound(), name) {
		return nil
	}
	bounds, known := rooms()[name]
	if !known {
		return []string{fmt.Sprintf("%s: no such room in the import table", pkg.ImportPath)}
	}
	imports := pkg.Imports
	if name == "e2e" {
		imports = slices.Concat(imports, pkg.TestImports, pkg.XTestImports)
	}
	var wrong []string
	for _, imported := range imports {
		if !bounds.allows(name, imported) {
			wrong = append(wrong, fmt.Sprintf("%s imports %s", pkg.ImportPath, imported))
		}
	}
	return wrong
}

func (r room) allows(name, imported string) bool {
	own, isOurs := strings.CutPrefix(imported, module+"/")
	if isOurs {
		return within(own, name) || slices.ContainsFunc(r.ours, func(allowed string) bool { return within(own, allowed) })
	}
	return !slices.ContainsFunc(r.banned, func(banned string) bool { return within(imported, banned) })
}

// within reports whether importPath is root or below it.
func within(importPath, root string) bool {
	return importPath == root || strings.HasPrefix(importPath, root+"/")
}

func TestSourceRules(t *testing.T) {
	count := 0
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return skipFolder(name)
		case path.Ext(name) != ".go":
			return nil
		}
		source, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		count++
		for _, wrong := range sourceViolations(filepath.ToSlash(name), source) {
			t.Error(wrong)
		}
		return nil
	})
	if err != nil || count < 10 {
		t.Errorf("looked at %d files: %v", count, err)
	}
}

// skipFolder leaves out what is not source of this module.
func skipFolder(name string) error {
	base := filepath.Base(name)
	if name == "." {
		return nil
	}
	if strings.HasPrefix(base, ".") || base == "testdata" || base == "vendor" {
		return filepath.SkipDir
	}
	if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil {
		return filepath.SkipDir // a module of its own
	}
	return nil
}

const maxLines = 500

// unfinished matches the marks of unfinished work in a comment.
func unfinished() *regexp.Regexp { return regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME)\b`) }

// sourceViolations says which rules of the house a file breaks.
func sourceViolations(name string, source []byte) []string {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, source, parser.ParseComments)
	if err != nil {
		return []string{err.Error()}
	}
	if ast.IsGenerated(file) {
		return nil
	}
	var wrong []string
	at := func(pos token.Pos, format string, args ...any) {
		wrong = append(wrong, fmt.Sprintf("%s: %s", files.Position(pos), fmt.Sprintf(format, args...)))
	}
	isTest := strings.HasSuffix(name, "_test.go")
	if lines := bytes.Count(source, []byte("\n")); lines > maxLines && !isTest {
		at(file.Pos(), "%d lines, more than %d", lines, maxLines)
	}
	if slices.Contains([]string{"util", "utils", "common", "helpers", "types", "models", "manager"}, file.Name.Name) {
		at(file.Name.Pos(), "package %s: packages are nouns of the domain", file.Name.Name)
	}
	for _, group := range file.Comments {
		if mark := unfinished().FindString(group.Text()); mark != "" {
			at(group.Pos(), "%s", mark)
		}
	}
	forbidden := forbiddenCalls(name, isTest)
	names := importNames(file)
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Name.Name == "init" && n.Recv == nil {
				at(n.Pos(), "func init")
			}
		case *ast.SelectorExpr:
			if qualifier, ok := n.X.(*ast.Ident); ok && slices.Contains(forbidden, names[qualifier.Name]+"."+n.Sel.Name) {
				at(n.Pos(), "%s.%s", names[qualifier.Name], n.Sel.Name)
			}
		}
		return true
	})
	return wrong
}

// forbiddenCalls: only settings reads the environment, and no test sleeps.
func forbiddenCalls(name string, isTest bool) []string {
	if isTest {
		return []string{"time.Sleep"}
	}
	if folder, _, _ := strings.Cut(name, "/"); slices.Contains([]string{"settings", "e2e", "bench"}, folder) {
		return nil
	}
	return []string{"os.Getenv", "os.LookupEnv", "os.Environ", "os.ExpandEnv", "syscall.Getenv", "syscall.Environ"}
}

// importNames maps the names by which a file knows its imports to their paths.
func importNames(file *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range file.Imports {
		importPath := strings.Trim(spec.Path.Value, `"`)
		name := path.Base(importPath)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = importPath
	}
	return names
}

// The rules above are worth something only if they see what breaks them.
func TestTheRulesSeeViolations(t *testing.T) {
	for _, test := range []struct {
		room, imports string
		allowed       bool
	}{
		{"plan", "volley/stats", false}, {"plan", "net/http", false}, {"plan", "net/url", true},
		{"stats", "volley/plan", true}, {"stats", "volley/node", false}, {"stats", "volley/grpcsvc/pb", false}, {"stats", "google.golang.org/protobuf/proto", true},
		{"sources", "volley/plan", false}, {"sources", "github.com/hashicorp/consul/api", true}, {"sources", "github.com/hashicorp/raft", false},
		{"loadgen", "volley/stats", true}, {"loadgen", "google.golang.org/grpc/codes", false}, {"loadgen", "cloud.google.com/go/storage", false},
		{"node", "github.com/hashicorp/raft", true}, {"node", "github.com/hashicorp/raft-boltdb/v2", true}, {"node", "google.golang.org/grpc", false}, {"node", "volley/plan", false},
		{"grpcsvc", "volley/node", true}, {"grpcsvc", "volley/grpcsvc/pb", true}, {"grpcsvc", "volley/loadgen", false},
		{"control", "volley/stats", true}, {"control", "volley/page", true}, {"page", "volley/stats", true}, {"page", "net/http", false}, {"stats", "volley/page", false}, {"control", "volley/settings", false}, {"control", "github.com/hashicorp/raft-boltdb/v2", false},
		{"settings", "volley/plan", false}, {"settings", envconfig, true}, {"node", envconfig, false},
		{"helpers", "fmt", false},
	} {
		wrong := importViolations(listed{ImportPath: "volley/" + test.room, Imports: []string{test.imports}})
		if (len(wrong) == 0) != test.allowed {
			t.Errorf("%s importing %s: %q, want allowed %v", test.room, test.imports, wrong, test.allowed)
		}
	}
	if wrong := importViolations(listed{ImportPath: "volley/e2e", XTestImports: []string{"volley/node"}, TestImports: []string{"volley/grpcsvc/pb"}}); !slices.Equal(wrong, []string{"volley/e2e imports volley/node"}) {
		t.Errorf("e2e: %q", wrong)
	}

	const env = "package p\n\nimport system \"os\"\n\nvar home = system.Getenv(\"HOME\")\n"
	const sleep = "package p\n\nimport \"time\"\n\nfunc f() { time.Sleep(1) }\n"
	for _, test := range []struct{ name, source, want string }{
		{"node/a.go", env, "node/a.go:5:12: os.Getenv"},
		{"settings/a.go", env, ""},
		{"node/a_test.go", env, ""},
		{"node/a_test.go", sleep, "node/a_test.go:5:12: time.Sleep"},
		{"node/a.go", sleep, ""},
		{"node/a.go", "package p\n\n// TO" + "DO: later\n", "node/a.go:3:1: TO" + "DO"},
		{"node/a.go", "package p\n\nfunc init() {}\n", "node/a.go:3:1: func init"},
		{"util/a.go", "package util\n", "util/a.go:1:9: package util: packages are nouns of the domain"},
		{"node/a.go", "package p\n" + strings.Repeat("\n", maxLines), "node/a.go:1:1: 501 lines, more than 500"},
		{"node/a.go", "// Code generated by x. DO NOT EDIT.\n\npackage p\n" + strings.Repeat("\n", maxLines), ""},
		{"node/a_test.go", "package p\n" + strings.Repeat("\n", maxLines), ""},
	} {
		if wrong := strings.Join(sourceViolations(test.name, []byte(test.source)), "; "); wrong != test.want {
			t.Errorf("%s: %q, want %q", test.name, wrong, test.want)
		}
	}
}
