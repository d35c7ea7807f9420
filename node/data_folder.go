package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	dataFolderPrefix = "volley-data-"
	folderTries      = 3
)

// makeFolder makes a folder for data files, claimed for as long as this process
// lives. An image of nothing but the binary has no temporary folder yet.
func makeFolder(parent string) (folder string, claimed *os.File, err error) {
	if err := os.MkdirAll(parent, 0o777|os.ModeSticky); err != nil {
		return "", nil, err
	}
	for range folderTries {
		if folder, err = os.MkdirTemp(parent, dataFolderPrefix); err != nil {
			return "", nil, err
		}
		if claimed, err = claimFolder(folder); err == nil {
			return folder, claimed, nil
		}
	}
	return "", nil, fmt.Errorf("claim %s: %w", folder, err) // another process sweeps all the time
}

// claimFolder takes the lock that its owner holds. The kernel gives it back when
// a process ends, however it does: a process id says nothing of another container.
func claimFolder(folder string) (*os.File, error) {
	file, err := os.Open(folder)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		file.Close()
		return nil, err
	}
	there, err := os.Stat(folder) // it may have been swept before it was locked
	if own, ownErr := file.Stat(); err == nil && ownErr == nil && os.SameFile(own, there) {
		return file, nil
	}
	file.Close()
	return nil, fmt.Errorf("%s is gone", folder)
}

// sweepFolders removes what processes that were killed have left: folders of
// data files that nobody claims. It returns how many.
func sweepFolders(parent string) (removed int) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return 0 // nothing has been kept there yet
	}
	for _, entry := range entries {
		folder := filepath.Join(parent, entry.Name())
		if !entry.IsDir() || !strings.HasPrefix(entry.Name(), dataFolderPrefix) {
			continue
		}
		claimed, err := claimFolder(folder)
		if err != nil {
			continue // in use, or another user's
		}
		if os.RemoveAll(folder) == nil {
			removed++
		}
		claimed.Close()
	}
	return removed
}
