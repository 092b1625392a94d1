package stack

import (
	"slices"
	"strings"
)

// Places remember where the keys of a stack's files stand, for who finds fault with
// one of them later.
type Places struct {
	// Files are the files that were read, relative to the workspace, the main one
	// first, included ones too. Of two that write a key the later one wins.
	Files []string
	// Lines maps a file and a key in it ("services.api.image") to the line it stands
	// on.
	Lines map[string]map[string]int
}

// Find gives the file and the line of a key of the merged model: in the last file
// that writes it, since that one wins. A key that is not written stands where the
// nearest one above it does; one without any gives "" and 0.
func (p *Places) Find(key string) (file string, line int) {
	for key != "" {
		for _, file := range slices.Backward(p.Files) {
			if line := p.Lines[file][key]; line > 0 {
				return file, line
			}
		}
		key = key[:max(strings.LastIndex(key, "."), 0)]
	}
	return "", 0
}

// Place says where a key of the Compose file stands ("services.api.image"), as
// the file (relative to the workspace) and the line. A key that is not written
// stands where the nearest one above it does, in the end in the main file with line
// 0. A stack that was not read from files gives "" and 0.
func (s *Stack) Place(key string) (file string, line int) {
	if s.Places == nil || len(s.Places.Files) == 0 {
		return "", 0
	}
	if file, line := s.Places.Find(key); line > 0 {
		return file, line
	}
	return s.Places.Files[0], 0
}

// ComposeFiles are the files that the stack was read from, relative to the
// workspace, included ones too; none for a stack that was not read from files.
func (s *Stack) ComposeFiles() []string {
	if s.Places == nil {
		return nil
	}
	return s.Places.Files
}
