package main

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

var version = regexp.MustCompile(`^v\d+\.\d+\.\d+$`)

// Notes gives what changed in a version ("v1.2.3"): the files of its folder in
// changes, in the order of their names. Links lead from there to the repository.
func Notes(root fs.FS, of string) (string, error) {
	if !version.MatchString(of) {
		return "", fmt.Errorf("%q is not a version like v1.2.3", of)
	}
	dir := path.Join("changes", of)
	names, err := fs.Glob(root, path.Join(dir, "*.md"))
	if err != nil {
		return "", err
	}
	var notes []string
	for _, name := range names {
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return "", err
		}
		if change := strings.TrimSpace(string(text)); change != "" {
			notes = append(notes, strings.ReplaceAll(change, "](../../", "]("+repository))
		}
	}
	if len(notes) == 0 {
		return "", fmt.Errorf("%s says nothing of %s: write what changes for users in a file there, or git mv changes/unreleased %s", dir, of, dir)
	}
	return strings.Join(notes, "\n") + "\n", nil
}
