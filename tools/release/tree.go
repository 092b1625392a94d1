package main

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// repository and pictures are where a reader of the tree finds what is not in it. A
// picture needs an address of its own: at the other one is a page that shows it.
const (
	repository = "https://github.com/shiksha/actions/blob/main/"
	pictures   = "https://github.com/shiksha/actions/raw/main/"
)

// Tree is a release tree: each action in a folder of its own at the root, so that
// it is used as shiksha/actions/deploy@v1, on an image that is there already.
type Tree struct {
	// Root is the repository's folder, Out the one to write to.
	Root, Out string
	// Image has to be pinned by its digest: a tag could move under a version.
	Image string
}

var pinned = regexp.MustCompile(`^[a-z0-9.:/_-]+@sha256:[0-9a-f]{64}$`)

// Write writes the tree and gives the files in it, sorted. Which actions there are
// is read from the repository.
func (t Tree) Write() (files []string, err error) {
	if !pinned.MatchString(t.Image) {
		return nil, fmt.Errorf("-image %q: name it with its digest, as in ghcr.io/shiksha/actions@sha256:<digest>", t.Image)
	}
	if t.Out == "" {
		return nil, errors.New("-out: name the folder to write to")
	}
	if left, err := os.ReadDir(t.Out); err == nil && len(left) > 0 {
		return nil, fmt.Errorf("-out %s: there is something in it already: give another folder, or empty it", t.Out)
	}
	moved, err := t.moves()
	if err != nil {
		return nil, err
	}
	for from, to := range moved {
		if err := t.copy(from, to, moved); err != nil {
			return nil, err
		}
		files = append(files, to)
	}
	slices.Sort(files)
	return files, nil
}

// moves maps each file of the repository that is in the tree to its place there.
func (t Tree) moves() (map[string]string, error) {
	moved := map[string]string{"action.yml": "action.yml", "README.md": "README.md", "LICENSE": "LICENSE"}
	actions, err := filepath.Glob(filepath.Join(t.Root, "actions", "*", "action.yml"))
	if err != nil {
		return nil, err
	}
	if len(actions) == 0 {
		return nil, fmt.Errorf("there is no actions/*/action.yml in %s: run it in the repository, or give -root", t.Root)
	}
	for _, file := range actions {
		verb := filepath.Base(filepath.Dir(file))
		for _, name := range []string{"action.yml", "README.md"} {
			moved[path.Join("actions", verb, name)] = path.Join(verb, name)
		}
	}
	return moved, nil
}

// copy writes one file to its place, made to fit there.
func (t Tree) copy(from, to string, moved map[string]string) error {
	content, err := os.ReadFile(filepath.Join(t.Root, filepath.FromSlash(from)))
	if err != nil {
		return err
	}
	text := string(content)
	switch path.Base(from) {
	case "action.yml":
		text, err = t.onImage(text)
	case "README.md":
		text = relink(text, from, to, moved)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	target := filepath.Join(t.Out, filepath.FromSlash(to))
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	return os.WriteFile(target, []byte(text), 0o644)
}

var dockerfile = regexp.MustCompile(`(?m)^  image: ['"]?(?:\.\./\.\./)?Dockerfile['"]?$`)

// onImage puts an action.yml on the finished image.
func (t Tree) onImage(text string) (string, error) {
	if found := len(dockerfile.FindAllString(text, -1)); found != 1 {
		return "", fmt.Errorf("names the root Dockerfile as its image %d times, not once", found)
	}
	return dockerfile.ReplaceAllLiteralString(text, "  image: docker://"+t.Image), nil
}

var link = regexp.MustCompile(`(!\[[^\]]*)?\]\(([^)\s]+)\)`)

// relink makes the links of a document lead to the same place from where it is now:
// to the file's new place, or to the repository.
func relink(text, from, to string, moved map[string]string) string {
	return link.ReplaceAllStringFunc(text, func(found string) string {
		parts := link.FindStringSubmatch(found)
		picture, target := parts[1], parts[2]
		if strings.Contains(target, "://") || strings.HasPrefix(target, "#") || strings.HasPrefix(target, "mailto:") {
			return found
		}
		name, anchor, _ := strings.Cut(target, "#")
		if anchor != "" {
			anchor = "#" + anchor
		}
		name = path.Join(path.Dir(from), name)
		place, here := moved[name]
		switch {
		case !here && picture != "":
			return picture + "](" + pictures + name + ")"
		case !here:
			return "](" + repository + name + anchor + ")"
		}
		relative, err := filepath.Rel(path.Dir(to), place)
		if err != nil {
			return found
		}
		return picture + "](" + filepath.ToSlash(relative) + anchor + ")"
	})
}
