package inputs

import (
	"net/url"
	"os"
	"path/filepath"

	"github.com/shiksha/actions/pkg/fault"
)

// Checks is a file of checks.
type Checks struct {
	Name    string
	Content []byte
}

// ReadChecks reads a file of checks in the workspace; "" gives none.
func ReadChecks(workspace, path string) (Checks, error) {
	if path == "" {
		return Checks{}, nil
	}
	root, err := os.OpenRoot(workspace)
	if err != nil {
		return Checks{}, fault.New(fault.Input, "checks", "", "the workspace cannot be read: %w", cause(err))
	}
	defer root.Close()
	name, _ := InWorkspace(workspace, path) // of a path outside it reading tells
	content, err := root.ReadFile(name)
	if err != nil {
		return Checks{}, fault.New(fault.Input, "checks", "name a file of checks in the workspace, relative to it", "cannot read %s: %w", path, cause(err))
	}
	return Checks{name, content}, nil
}

// InWorkspace gives the path of a file relative to the workspace, and whether it is in
// it. A runner makes an absolute one of ${{ github.workspace }}.
func InWorkspace(workspace, path string) (string, bool) {
	if filepath.IsAbs(path) {
		relative, err := filepath.Rel(workspace, path)
		if err != nil {
			return path, false
		}
		path = relative
	}
	path = filepath.Clean(path)
	return path, path != "." && filepath.IsLocal(path)
}

// CheckReport tells whether an input names a file of the workspace, to write a report to.
// After a release it would be too late to refuse one.
func (s Source) CheckReport(name, path string) []error {
	if path == "" {
		return nil
	}
	if _, ok := InWorkspace(s.Workspace, path); ok {
		return nil
	}
	return []error{fault.New(fault.Input, name, "name a file in the workspace, relative to it, for example "+name+": reports/checks.xml",
		"%q is no file in the workspace", path)}
}

// CheckStack tells what is wrong with inputs that several verbs have.
func CheckStack(project, stateDir, address string) (problems []error) {
	problems = append(CheckProject(project), CheckStateDir(stateDir)...)
	return append(problems, CheckURL("url", address)...)
}

// CheckURL tells whether an input is an address of http or https. It may hold a
// password, so it is not repeated.
func CheckURL(name, address string) []error {
	if address == "" {
		return nil
	}
	if u, err := url.Parse(address); err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https") {
		return nil
	}
	return []error{fault.New(fault.Input, name, "for example "+name+": https://shop.example.org/health", "is not an address of http or https")}
}
