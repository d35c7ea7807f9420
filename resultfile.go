package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"volley/page"
	"volley/sources"
	"volley/stats"
)

// inBucket says whether RESULT_FILE is an object.
func inBucket(file string) bool { return strings.HasPrefix(file, "gs://") }

// checkResultFile says, before a load is sent, whether RESULT_FILE can be
// written afterwards, as far as that can be known, and opens the way to a bucket.
func (a *app) checkResultFile() error {
	file := a.set.Run.ResultFile
	if !inBucket(file) {
		return writable(file)
	}
	if _, err := sources.ParsePlace(file); err != nil {
		return fmt.Errorf("RESULT_FILE %w", err)
	}
	return a.openUploads("RESULT_FILE", file)
}

// openUploads opens the way to buckets, once, for the variable that names one.
func (a *app) openUploads(variable, value string) (err error) {
	if a.store != nil {
		return nil
	}
	if a.store, err = openStore(a.set, a.log); err != nil {
		return fmt.Errorf("%s %q: %w", variable, value, err)
	}
	a.uploads = newUploads(a.store, a.log)
	return nil
}

// writable tries a local file; the folder may depend on the run, then only the
// run can tell.
func writable(file string) error {
	dir := filepath.Dir(file)
	info, err := os.Stat(file)
	if isFolder := strings.HasSuffix(file, "/") || err == nil && info.IsDir(); isFolder {
		return fmt.Errorf("RESULT_FILE %q is a folder (a file in a folder that exists and may be written to)", file)
	}
	if link, _ := os.Readlink(file); err == nil && !info.Mode().IsRegular() || strings.HasPrefix(link, "/proc/") {
		return fmt.Errorf("RESULT_FILE %q is no regular file (a file in a folder that exists and may be written to; it is replaced as a whole)", file)
	}
	if file == "" || strings.Contains(dir, "{") {
		return nil
	}
	tmp, err := os.CreateTemp(filepath.Dir(linked(file)), ".result-*")
	if err != nil {
		return fmt.Errorf("RESULT_FILE %q cannot be written: %w (a file in a folder that exists and may be written to)", file, err)
	}
	tmp.Close()
	return os.Remove(tmp.Name())
}

// write puts the result where RESULT_FILE says and the report beside it, each
// whole or not at all. An upload goes on beside: that it has failed is told by the
// log, and never by the exit code.
func (r *results) write(result *stats.Result, body []byte) error {
	if r.file == "" {
		return nil
	}
	name := strings.NewReplacer("{run_id}", result.RunID, "{node_id}", r.self.NodeID).Replace(r.file)
	report, err := page.Report(result)
	if !inBucket(name) {
		// The result first: it stays, whatever becomes of the report.
		if failed := writeFile(name, body); failed != nil || err != nil {
			return errors.Join(failed, err)
		}
		return writeFile(reportName(name), report.HTML)
	}
	to, failed := sources.ParsePlace(name)
	if failed != nil {
		return fmt.Errorf("RESULT_FILE %w", failed)
	}
	parts := []*part{{to: to, content: sources.Content{Type: "application/json", Body: body}}}
	if err == nil {
		to.Object = reportName(to.Object)
		parts = append(parts, &part{to: to, content: sources.Content{Type: "text/html; charset=utf-8", Body: report.HTML}})
	}
	r.uploads.begin(result.RunID, parts)
	return err
}

// reportName is that of the report beside a result: x.html beside x.json.
func reportName(result string) string { return strings.TrimSuffix(result, ".json") + reportSuffix }

// reportSuffix tells reports from results.
const reportSuffix = ".html"

// linked is what a link points to, if it is one, even if that is not there yet.
func linked(path string) string {
	if to, err := filepath.EvalSymlinks(path); err == nil {
		return to
	}
	to, err := os.Readlink(path)
	switch {
	case err != nil:
		return path
	case filepath.IsAbs(to):
		return to
	}
	return filepath.Join(filepath.Dir(path), to)
}

func writeFile(path string, body []byte) error {
	path = linked(path)
	tmp, err := os.CreateTemp(filepath.Dir(path), ".result-*")
	if err != nil {
		return fmt.Errorf("RESULT_FILE %s: %w", path, err)
	}
	defer os.Remove(tmp.Name()) // fails once it is renamed
	_, err = tmp.Write(body)
	if err == nil {
		err = tmp.Chmod(0o644) // in a container volley is a user that nobody else is
	}
	if err != nil {
		tmp.Close()
		return fmt.Errorf("RESULT_FILE %s: %w", path, err)
	}
	if err := tmp.Close(); err != nil {
		return fmt.Errorf("RESULT_FILE %s: %w", path, err)
	}
	return os.Rename(tmp.Name(), path)
}
