package loadgen

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// mostFileBytes is what the files of one plan may have together: they are kept
// in memory, once for all workers.
const mostFileBytes = 256 << 20

// files reads the files that a plan names, each once.
type files struct {
	from  Files
	known map[string]string
	size  int64
	// lenient takes a file that cannot be read for an empty one.
	lenient bool
}

// read is a file's content. The error names the path and where it was sought.
func (f *files) read(path string) (string, error) {
	if text, ok := f.known[path]; ok {
		return text, nil
	}
	data, err := f.load(path)
	if err != nil {
		if f.lenient {
			return "", nil
		}
		return "", err
	}
	if f.known == nil {
		f.known = map[string]string{}
	}
	text := string(data)
	f.known[path], f.size = text, f.size+int64(len(data))
	return text, nil
}

func (f *files) load(path string) ([]byte, error) {
	if f.from.Copies != nil {
		place, known := f.from.Copies[path]
		if !known {
			return nil, fmt.Errorf("%q did not come with the plan", path)
		}
		return f.readFile(os.Open(place))
	}
	if f.from.Folder == "" {
		return nil, fmt.Errorf("%q: this plan has no folder to take files from (a plan from a local file has its own, a posted one DATA_DIR)", path)
	}
	if f.from.Local {
		data, err := f.readFile(os.Open(filepath.Join(f.from.Folder, path)))
		if filepath.IsAbs(path) || errors.Is(err, fs.ErrNotExist) {
			if there, err := f.readFile(os.Open(path)); err == nil || filepath.IsAbs(path) {
				return there, err
			}
		}
		return data, err
	}
	if !filepath.IsLocal(path) {
		return nil, fmt.Errorf("%q leads out of the plan's folder (a relative path within it; only a plan from a local file may name others)", path)
	}
	root, err := os.OpenRoot(f.from.Folder)
	if err != nil {
		return nil, fmt.Errorf("open the plan's folder: %w", err)
	}
	defer func() { _ = root.Close() }()
	return f.readFile(root.Open(path))
}

func (f *files) readFile(file *os.File, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	left := mostFileBytes - f.size
	var data bytes.Buffer
	if info, err := file.Stat(); err == nil && info.Size() <= left {
		data.Grow(int(info.Size()) + bytes.MinRead) // or it grows by copying
	} else if err == nil && info.Mode().IsRegular() {
		return nil, f.tooLarge(file)
	}
	if n, err := data.ReadFrom(io.LimitReader(file, left+1)); err != nil {
		return nil, fmt.Errorf("read %s: %w", file.Name(), err)
	} else if n > left {
		return nil, f.tooLarge(file)
	}
	return data.Bytes(), nil
}

func (f *files) tooLarge(file *os.File) error {
	return fmt.Errorf("%s is too large (the files of a plan may have %d MiB together)", file.Name(), mostFileBytes>>20)
}
