package main_test

import (
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"volley/settings"
)

// pages are all Markdown files of this repository, by path.
func pages(t *testing.T) []string { return filesOf(t, ".", ".md") }

// filesOf are the files below a folder with one of the suffixes; none if there
// is no such folder.
func filesOf(t *testing.T, folder string, suffixes ...string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(folder, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return skipFolder(name)
		case slices.Contains(suffixes, filepath.Ext(name)):
			found = append(found, filepath.ToSlash(name))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func readPage(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var fences = regexp.MustCompile("(?ms)^ *```.*?^ *```[ ]*$")

// prose is a page without its blocks of code, in which no link is a link.
func prose(page string) string { return fences.ReplaceAllString(page, "") }

// Every link of every page leads somewhere: files of this repository are there,
// and have the heading that follows #; what is elsewhere is an address of https.
func TestDocsLinks(t *testing.T) {
	inline := regexp.MustCompile("`[^`\n]*`")
	link := regexp.MustCompile(`\]\(([^)\s]+)\)`)
	count := 0
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(inline.ReplaceAllString(prose(readPage(t, page)), "code"), -1) {
			count++
			if why := dead(t, page, m[1]); why != "" {
				t.Errorf("%s links to %s: %s", page, m[1], why)
			}
		}
	}
	if count < 100 {
		t.Errorf("found %d links; does this test still understand the pages?", count)
	}
}

// dead says what is wrong with a link of a page, "" if nothing is.
func dead(t *testing.T, page, link string) string {
	t.Helper()
	to, err := url.Parse(link)
	switch {
	case err != nil:
		return err.Error()
	case to.Scheme == "https" && strings.Contains(to.Host, "."):
		return ""
	case to.Scheme != "" || to.Host != "":
		return "neither a file nor an address of https"
	}
	file := page
	if to.Path != "" {
		file = filepath.ToSlash(filepath.Join(filepath.Dir(page), to.Path))
	}
	if _, err := os.Stat(file); err != nil {
		return "there is no such file"
	}
	if to.Fragment != "" && !slices.Contains(anchors(readPage(t, file)), to.Fragment) {
		return file + " has no such heading"
	}
	return ""
}

// anchors are what the headings of a page are linked by, as GitHub makes them:
// lower case, blanks are hyphens, other punctuation goes; a second one of the
// same name gets a number.
func anchors(page string) []string {
	var found []string
	seen := map[string]int{}
	for line := range strings.Lines(prose(page)) {
		text := strings.TrimLeft(line, "#")
		if text == line || !strings.HasPrefix(text, " ") {
			continue
		}
		name := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, strings.TrimSpace(regexp.MustCompile(`\]\([^)]*\)`).ReplaceAllString(text, "]")))
		if n := seen[name]; n > 0 {
			found = append(found, name+"-"+string(rune('0'+n)))
		} else {
			found = append(found, name)
		}
		seen[name]++
	}
	return found
}

// othersVariables are read by somebody else than volley's settings: Google's
// and Docker's clients, the Go runtime, the tests, Cloud Run and its tools, the
// load's proxy, and the predecessor's that docs/migration.md says are gone.
func othersVariables() []string {
	return []string{
		"GOOGLE_APPLICATION_CREDENTIALS", "DOCKER_HOST", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY",
		"VOLLEY_E2E_CONSUL_IMAGE", "VOLLEY_E2E_GCS_IMAGE", "VOLLEY_E2E_SHOTS", "VOLLEY_CI_SKIP",
		"VOLLEY_IMAGE", "CONSUL_IMAGE", "GCS_IMAGE", "TARGET_IMAGE", "TARGET_COMMAND", "CONTROL_PORT", // of deploy/compose.yaml
		"NOMAD_JOB_NAME", "NOMAD_ALLOC_INDEX", "NOMAD_ALLOC_ID", "NOMAD_PORT_", "NOMAD_ADDR_", "NOMAD_SECRETS_DIR",
		"RESULT_FIL",                       // misspelt
		"RUNTIME_DIRECTORY", "EXIT_STATUS", // of systemd
		"DO_NOTHING",                                                                                                         // a value of Google's
		"DOCKER_BUILDKIT", "COMMIT_SHA", "PROJECT_ID", "PROJECT_NUMBER", "CGO_ENABLED", "CLOUD_LOGGING_ONLY", "E2_HIGHCPU_8", // of Google Cloud, Cloud Build and Go
		"TCP_USER_TIMEOUT",                             // of the kernel
		"CLUSTER_TLS", "DEV_MODE", "DNS_CACHE_ENABLED", // of rust_loadtest
	}
}

// Every environment variable that the documentation, the examples or the files
// to deploy with name is one that volley reads, or is listed as another's.
func TestDocsVariables(t *testing.T) {
	known := othersVariables()
	for _, group := range settings.Groups() {
		for _, v := range group.Variables {
			known = append(known, v.Name)
		}
	}
	// A name that ends with _ is the beginning of several, as in CLUSTER_TLS_….
	word := regexp.MustCompile(`\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]*)+`)
	files := append(pages(t), "cloudbuild.yaml", "Dockerfile")
	for _, folder := range []string{"examples", "deploy"} {
		if _, err := os.Stat(folder); err == nil {
			files = append(files, filesOf(t, folder, ".yaml", ".yml", ".hcl", ".tf", ".tpl", ".sh", ".json")...)
		}
	}
	count := 0
	for _, file := range files {
		for _, name := range word.FindAllString(readPage(t, file), -1) {
			count++
			family := strings.HasSuffix(name, "_") && slices.ContainsFunc(known, func(k string) bool { return strings.HasPrefix(k, name) })
			if !family && !slices.Contains(known, name) {
				t.Errorf("%s names the variable %s, which volley does not read: correct it, or add it to othersVariables if it is somebody else's", file, name)
			}
		}
	}
	if count < 500 {
		t.Errorf("found %d names; does this test still understand the pages?", count)
	}
}

// Every page below docs/ can be found from the README or from docs/README.md,
// decisions from their own index.
func TestDocsAreFound(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#\s]+)`)
	linked := map[string]bool{}
	for _, index := range []string{"README.md", "docs/README.md", "docs/adr/README.md"} {
		if _, err := os.Stat(index); err != nil {
			continue
		}
		for _, m := range link.FindAllStringSubmatch(readPage(t, index), -1) {
			linked[filepath.ToSlash(filepath.Join(filepath.Dir(index), m[1]))] = true
		}
	}
	for _, page := range filesOf(t, "docs", ".md") {
		if !linked[page] && filepath.Base(page) != "README.md" {
			t.Errorf("neither README.md nor docs/README.md links %s", page)
		}
	}
}

// docs/architecture.md names every file of the root and every room, and says of
// each room what the import table says.
func TestDocsNameEveryRoom(t *testing.T) {
	page := readPage(t, "docs/architecture.md")
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		name := entry.Name()
		if entry.IsDir() {
			if code := !strings.HasPrefix(name, ".") && len(filesOf(t, name, ".go")) > 0; !code {
				continue
			}
			name += "/"
		} else if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			continue
		}
		if !regexp.MustCompile(`(?m)(^|\s)` + regexp.QuoteMeta(name)).MatchString(page) {
			t.Errorf("docs/architecture.md does not say what %s is", name)
		}
	}
	row := regexp.MustCompile("(?m)^\\| `([a-z0-9]+)` \\| ([^|]*) \\|")
	said := map[string]string{}
	for _, m := range row.FindAllStringSubmatch(page, -1) {
		said[m[1]] = m[2]
	}
	for name, r := range rooms() {
		want := "–"
		if len(r.ours) > 0 {
			want = "`" + strings.Join(r.ours, "`, `") + "`"
		}
		if said[name] != want {
			t.Errorf("docs/architecture.md says that %s may import %q of ours, the table of arch_test.go %q", name, said[name], want)
		}
	}
}

// `volley help` lists the exit codes that docs/exit-codes.md explains.
func TestDocsExitCodes(t *testing.T) {
	_, help, _ := strings.Cut(readPage(t, "run.go"), "Exit codes: ")
	help, _, _ = strings.Cut(help, "`")
	told := regexp.MustCompile(`(?:^|· ?\n?)(\d+) `).FindAllStringSubmatch(help, -1)
	explained := regexp.MustCompile(`(?m)^\| (\d+) \|`).FindAllStringSubmatch(readPage(t, "docs/exit-codes.md"), -1)
	if len(explained) < 5 || !slices.EqualFunc(told, explained, func(a, b []string) bool { return a[1] == b[1] }) {
		t.Errorf("volley help tells of %q, the page of %q", told, explained)
	}
}
