package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	debianImage = "debian:bookworm-slim"
	// recipeLabel marks the images made here, with the sum of what made them.
	recipeLabel = "shiksha.lab.recipe"
	// ours begins the names of images that only the lab has.
	ours      = "shiksha-lab/"
	sshdImage = ours + "sshd:bookworm"
	// ServicesImage has Redis, Celery, Prometheus and Alertmanager.
	ServicesImage = ours + "services:bookworm"
)

// slim is left out of the base image, and dpkg told so for what is installed on
// it later: what the official slim image leaves out.
var slim = []string{"usr/share/doc", "usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/lintian"}

// ensureImages makes the base images be there: pulled where a registry can be
// reached, else made from Debian packages under the same names.
func (l *Lab) ensureImages(ctx context.Context) error {
	online := sync.OnceValue(func() bool { return hubAnswers(ctx) })
	if err := l.ensureDebian(ctx, online); err != nil {
		return err
	}
	var wait sync.WaitGroup
	errs := make([]error, 4)
	for i, image := range []struct{ ref, recipe string }{
		{"nginx:1.22", "nginx"}, {"postgres:15", "postgres"}, {sshdImage, "sshd"}, {ServicesImage, "services"},
	} {
		wait.Go(func() { errs[i] = l.ensureBuilt(ctx, image.ref, image.recipe, online) })
	}
	wait.Wait()
	return errors.Join(errs...)
}

// ensureBuilt makes one of the lab's own images be there.
func (l *Lab) ensureBuilt(ctx context.Context, ref, recipe string, online func() bool) error {
	return l.ensure(ctx, Image{Ref: ref, Folder: filepath.Join(l.Root, "e2e", "lab", "images", recipe), Local: strings.HasPrefix(ref, ours)}, online)
}

// Image is an image that tests build on, and how it is made of Debian packages.
type Image struct {
	// Ref is its name, Folder the build context that makes it where no registry
	// can be reached.
	Ref, Folder string
	// Args are build arguments, "NAME=value".
	Args []string
	// Local is set for an image that no registry has.
	Local bool
}

// EnsureImages makes images be there: pulled where a registry can be reached,
// else made.
func (l *Lab) EnsureImages(ctx context.Context, images ...Image) error {
	unlock, err := lockFile(ctx, filepath.Join(os.TempDir(), "shiksha-lab.lock"), syscall.LOCK_EX)
	if err != nil {
		return err
	}
	defer unlock()
	online := sync.OnceValue(func() bool { return hubAnswers(ctx) })
	// Most of an image's time is its packages' way here, so some are made side by side.
	var some errgroup.Group
	some.SetLimit(4)
	for _, image := range images {
		some.Go(func() error { return l.ensure(ctx, image, online) })
	}
	return some.Wait()
}

// ensure makes one image be there. One that was made here before is made again
// when its recipe has changed; one from elsewhere is taken as it is.
func (l *Lab) ensure(ctx context.Context, image Image, online func() bool) error {
	sum, err := sumFolder(image.Folder)
	if err != nil {
		return err
	}
	sum += strings.Join(image.Args, " ")
	made, err := l.Docker(ctx, "image", "inspect", "--format", `{{with .Config}}{{index .Labels "`+recipeLabel+`"}}{{end}}`, image.Ref)
	if err == nil && !l.options.Rebuild && (made == "" || made == sum) {
		return nil
	}
	if !image.Local && l.pull(ctx, image.Ref, online) {
		return nil
	}
	l.say("making the image %s from Debian packages", image.Ref)
	args := []string{"build", "--quiet", "--force-rm", "--network", "host", "--label", recipeLabel + "=" + sum, "--tag", image.Ref}
	for _, arg := range image.Args {
		args = append(args, "--build-arg", arg)
	}
	_, err = l.Docker(ctx, append(args, image.Folder)...)
	return err
}

// pull tries the registry and says whether the image came.
func (l *Lab) pull(ctx context.Context, ref string, online func() bool) bool {
	if l.options.Rebuild || !online() {
		return false
	}
	l.say("pulling %s", ref)
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	_, err := l.Docker(ctx, "pull", "--quiet", ref)
	return err == nil
}

// hubAnswers asks whether Docker Hub can be reached at all, so that a machine
// without it does not wait for each image.
func hubAnswers(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://registry-1.docker.io/v2/", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	// It asks for a login; anything else is somebody in between.
	return resp.Body.Close() == nil && resp.StatusCode == http.StatusUnauthorized
}

func (l *Lab) ensureDebian(ctx context.Context, online func() bool) error {
	if _, err := l.Docker(ctx, "image", "inspect", "--format", "{{.Id}}", debianImage); err == nil && !l.options.Rebuild {
		return nil
	}
	if l.pull(ctx, debianImage, online) {
		return nil
	}
	l.say("making the image %s with debootstrap (about a minute)", debianImage)
	root, err := os.MkdirTemp(l.Dir, "debootstrap-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(root) }()
	from := readSources("/etc/apt")
	args := []string{"--variant=minbase", "--keyring=/usr/share/keyrings/debian-archive-keyring.gpg"}
	if strings.HasPrefix(from.mirror, "https:") {
		args = append(args, "--include=ca-certificates")
	}
	if err := l.logged(exec.CommandContext(ctx, "debootstrap", append(args, "bookworm", root, from.mirror)...), "debootstrap.log"); err != nil {
		return err
	}
	if err := finishRoot(root, from, aptSettings(ctx)); err != nil {
		return err
	}
	return l.importRoot(ctx, root)
}

// finishRoot gives a fresh root the machine's package sources and the official
// image's thrift.
func finishRoot(root string, from sources, settings string) error {
	var thrift strings.Builder
	thrift.WriteString("force-unsafe-io\n")
	for _, folder := range slim {
		fmt.Fprintf(&thrift, "path-exclude /%s/*\n", folder)
	}
	files := map[string]string{
		"etc/apt/sources.list":           strings.Join(from.lines, "\n") + "\n",
		"etc/apt/apt.conf.d/90lab":       settings,
		"etc/dpkg/dpkg.cfg.d/90slim":     thrift.String(),
		"etc/hostname":                   "debian\n",
		"etc/resolv.conf":                "",
		"etc/apt/apt.conf.d/91languages": "Acquire::Languages \"none\";\n",
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// importRoot makes an image of a root folder.
func (l *Lab) importRoot(ctx context.Context, root string) error {
	args := []string{"--directory", root, "--numeric-owner", "--create"}
	for _, folder := range append(slim, "var/cache/apt", "var/lib/apt/lists", "var/log", "proc", "sys", "dev") {
		args = append(args, "--exclude=./"+folder+"/*")
	}
	tar := exec.CommandContext(ctx, "tar", append(args, ".")...)
	content, err := tar.StdoutPipe()
	if err != nil {
		return err
	}
	if err := tar.Start(); err != nil {
		return err
	}
	_, err = l.docker(ctx, content, "import", "--change", `CMD ["bash"]`, "-", debianImage)
	return errors.Join(err, tar.Wait())
}

// sumFolder gives a short sum of all files below a folder, names included.
func sumFolder(folder string) (string, error) {
	sum := sha256.New()
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		_, _ = fmt.Fprintf(sum, "%s %d\n%s", entry.Name(), len(content), content)
		return err
	})
	return hex.EncodeToString(sum.Sum(nil)[:8]), err
}
