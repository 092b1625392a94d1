// Package disk is this machine's file system in the place of a host's, for tests of
// what keeps files there.
package disk

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
)

// Files has the methods of a host's files.
type Files struct{}

// Read gives the content of a file.
func (Files) Read(_ context.Context, path string) ([]byte, error) { return os.ReadFile(path) }

// Write replaces a file as a whole.
func (Files) Write(_ context.Context, path string, data []byte, perm fs.FileMode) error {
	return errors.Join(os.WriteFile(path+".tmp", data, perm), os.Rename(path+".tmp", path))
}

// List gives the entries of a directory.
func (Files) List(_ context.Context, dir string) ([]fs.FileInfo, error) {
	entries, err := os.ReadDir(dir)
	var infos []fs.FileInfo
	for _, e := range entries {
		if info, err := e.Info(); err == nil { // one that is gone meanwhile is not in it
			infos = append(infos, info)
		}
	}
	return infos, err
}

// MkdirAll makes a directory and its missing parents.
func (Files) MkdirAll(_ context.Context, path string, perm fs.FileMode) error {
	return os.MkdirAll(path, perm)
}

// Remove removes a file or an empty directory.
func (Files) Remove(_ context.Context, path string) error { return os.Remove(path) }

// Rename moves a file over what is there.
func (Files) Rename(_ context.Context, from, to string) error { return os.Rename(from, to) }

// Open opens a file for reading.
func (Files) Open(_ context.Context, path string) (io.ReadCloser, error) { return os.Open(path) }

// Create opens a file for writing, made or emptied.
func (Files) Create(_ context.Context, path string, perm fs.FileMode) (io.WriteCloser, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, perm)
}
