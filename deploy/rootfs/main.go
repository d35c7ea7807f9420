// Command rootfs makes the folders of the image below the one that is named: an
// empty tmp that every user may write to. A file system that is mounted there takes over its mode.
// The Dockerfile runs it, for there is no shell in which that could be said.
package main

import (
	"log"
	"os"
	"path/filepath"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: rootfs FOLDER")
	}
	tmp := filepath.Join(os.Args[1], "tmp")
	if err := os.MkdirAll(tmp, 0o755); err != nil {
		log.Fatal(err)
	}
	if err := os.Chmod(tmp, 0o777|os.ModeSticky); err != nil { // MkdirAll heeds the umask
		log.Fatal(err)
	}
}
