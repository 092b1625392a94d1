package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// golangImage is the image that the root Dockerfile compiles in.
const golangImage = "golang:1.26"

// golangBase is golangImage without toolchain and modules, jobImage what act runs
// jobs in.
const (
	golangBase = ours + "golang:bookworm"
	jobImage   = ours + "act-job:bookworm"
)

// JobImage makes the image be there that act runs jobs in, and names it.
func (l *Lab) JobImage(ctx context.Context) (ref string, err error) {
	return jobImage, l.ensureBuilt(ctx, jobImage, "act-job", func() bool { return false })
}

// ActionImage builds the image of the actions with the root Dockerfile, for an
// architecture ("amd64", "arm64"), and names it. The engine's classic builder
// builds it, as act does: to that, every image is of the machine's own platform,
// so of another one the content is right and the label is not. The image stays, so
// that the next time is fast.
func (l *Lab) ActionImage(ctx context.Context, arch string) (ref string, err error) {
	if err := l.ensureGolang(ctx); err != nil {
		return "", err
	}
	ref = ours + "actions:" + arch
	l.say("building the image of the actions for %s (some minutes when sources have changed)", arch)
	// Only BuildKit fills TARGETARCH in by itself.
	_, err = l.Docker(ctx, "build", "--quiet", "--force-rm", "--build-arg", "TARGETARCH="+arch, "--tag", ref, l.Root)
	return ref, err
}

// PublishAction pushes the image of the actions to the lab's registry and names
// it as a release does, by its digest.
func (l *Lab) PublishAction(ctx context.Context, image string) (ref string, err error) {
	repository := l.Registry + "/shiksha/actions"
	tag := repository + ":lab"
	if _, err := l.Docker(ctx, "tag", image, tag); err != nil {
		return "", err
	}
	if _, err := l.Docker(ctx, "push", "--quiet", tag); err != nil {
		return "", err
	}
	return l.Pinned(ctx, tag)
}

// Pinned names an image by its digest in the repository of its tag. An image has
// a digest for every repository that it was ever pushed to, in no order of use.
func (l *Lab) Pinned(ctx context.Context, tag string) (ref string, err error) {
	repository := tag[:strings.LastIndex(tag, ":")]
	digests, err := l.dockerLines(ctx, "image", "inspect", "--format", `{{range .RepoDigests}}{{println .}}{{end}}`, tag)
	for _, ref := range digests {
		if strings.HasPrefix(ref, repository+"@") {
			return ref, err
		}
	}
	return "", errors.Join(err, fmt.Errorf("%s has no digest: it was never pushed", tag))
}

// ensureGolang makes the image be there that the root Dockerfile compiles in:
// pulled, or made of Debian's packages and this machine's toolchain. One that was
// made here is made again when the toolchain or the modules have changed.
func (l *Lab) ensureGolang(ctx context.Context) error {
	// Two at once would both compile everything.
	unlock, err := lockFile(ctx, filepath.Join(os.TempDir(), "shiksha-lab-golang.lock"), syscall.LOCK_EX)
	if err != nil {
		return err
	}
	defer unlock()
	sum, root, err := l.golangRecipe(ctx)
	if err != nil {
		return err
	}
	made, err := l.Docker(ctx, "image", "inspect", "--format", `{{with .Config}}{{index .Labels "`+recipeLabel+`"}}{{end}}`, golangImage)
	if err == nil && (made == "" || made == sum) {
		return nil
	}
	online := sync.OnceValue(func() bool { return hubAnswers(ctx) })
	if l.pull(ctx, golangImage, online) {
		return nil
	}
	l.say("making the image %s from Debian packages and the toolchain in %s", golangImage, root)
	if err := l.ensureBuilt(ctx, golangBase, "golang", online); err != nil {
		return err
	}
	return l.fillGolang(ctx, sum, root)
}

// golangRecipe gives the sum of what golangImage is made of, and the folder of the
// toolchain.
func (l *Lab) golangRecipe(ctx context.Context) (sum, root string, err error) {
	told, err := l.goSay(ctx, nil, "env", "GOVERSION", "GOROOT")
	if err != nil {
		return "", "", err
	}
	version, root, _ := strings.Cut(strings.TrimSpace(string(told)), "\n")
	if minor := strings.TrimPrefix(golangImage, "golang:"); !strings.HasPrefix(version, "go"+minor) {
		return "", "", fmt.Errorf("%s cannot be made of the toolchain in %s: it is %s", golangImage, root, version)
	}
	folder, err := sumFolder(filepath.Join(l.Root, "e2e", "lab", "images", "golang"))
	if err != nil {
		return "", "", err
	}
	modules, err := os.ReadFile(filepath.Join(l.Root, "go.sum"))
	whole := sha256.Sum256(fmt.Appendf(modules, "%s %s", version, folder))
	return hex.EncodeToString(whole[:8]), root, err
}

// fillGolang makes golangImage of its base, the toolchain and the modules.
func (l *Lab) fillGolang(ctx context.Context, sum, root string) error {
	modules, err := l.moduleProxy(ctx)
	if err != nil {
		return err
	}
	compiled := filepath.Join(l.Dir, "golang-cache")
	if err := os.MkdirAll(compiled, 0o755); err != nil {
		return err
	}
	container, err := l.Docker(ctx, "create", "--volume", l.Root+":/src:ro", "--volume", compiled+":/compiled",
		"--workdir", "/src", golangBase, "sh", "-c", warmUp)
	if err != nil {
		return err
	}
	defer func() { _ = l.removeContainers(context.WithoutCancel(ctx), container) }()
	if err := l.copyInto(ctx, container+":/usr/local/go", root, "--exclude=./test", "--exclude=./api", "--exclude=./doc"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(filepath.Join(l.Dir, "modules")) }()
	if err := l.copyInto(ctx, container+":/modules", modules, "--exclude=./sumdb", "--exclude=*.lock"); err != nil {
		return err
	}
	if _, err := l.Docker(ctx, "start", "--attach", container); err != nil {
		return err
	}
	_, err = l.Docker(ctx, "commit", "--change", "LABEL "+recipeLabel+"="+sum, "--change", `CMD ["bash"]`, "--change", "WORKDIR /go", container, golangImage)
	return err
}

// warmUp compiles what the root Dockerfile compiles, so that the image keeps what
// sources do not change: the modules. What was compiled stays with the lab too, for
// the next time that the modules change, or when this time ends too early.
const warmUp = `set -e
for arch in amd64 arm64; do GOCACHE=/compiled CGO_ENABLED=0 GOARCH=$arch go build -trimpath -buildvcs=false -o /dev/null .; done
mkdir -p /root/.cache && cp -r /compiled /root/.cache/go-build`

// moduleProxy gives a folder that serves, as a module proxy of files, exactly what
// this repository's go.mod needs: what a download into an empty cache leaves.
func (l *Lab) moduleProxy(ctx context.Context) (folder string, err error) {
	cache, err := l.goSay(ctx, nil, "env", "GOMODCACHE", "GOPROXY")
	if err != nil {
		return "", err
	}
	here, proxies, _ := strings.Cut(strings.TrimSpace(string(cache)), "\n")
	fresh := filepath.Join(l.Dir, "modules")
	if err := os.RemoveAll(fresh); err != nil {
		return "", err
	}
	env := []string{"GOMODCACHE=" + fresh, "GOPROXY=file://" + filepath.Join(here, "cache", "download") + "," + proxies}
	_, err = l.goSay(ctx, env, "mod", "download", "-modcacherw")
	return filepath.Join(fresh, "cache", "download"), err
}

// copyInto copies a folder's content into a folder of a container, but for what
// tar is told to leave out.
func (l *Lab) copyInto(ctx context.Context, target, folder string, leaveOut ...string) error {
	args := append([]string{"--create", "--owner=0", "--group=0", "--numeric-owner", "--directory", folder}, leaveOut...)
	tar := exec.CommandContext(ctx, "tar", append(args, ".")...)
	content, err := tar.StdoutPipe()
	if err != nil {
		return err
	}
	if err := tar.Start(); err != nil {
		return err
	}
	_, err = l.docker(ctx, content, "cp", "-", target)
	return errors.Join(err, tar.Wait())
}

// goSay runs the go command in the repository, with more environment, and gives
// what it prints.
func (l *Lab) goSay(ctx context.Context, env []string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = l.Root
	cmd.Env = append(os.Environ(), env...)
	var words bytes.Buffer
	cmd.Stderr = &words
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, words.String())
	}
	return out, nil
}

// CompressedLayers gives the sizes in bytes of an image's layers as its registry
// sends them.
func CompressedLayers(ctx context.Context, ref string) ([]int64, error) {
	at, err := name.ParseReference(ref)
	if err != nil {
		return nil, err
	}
	image, err := remote.Image(at, remote.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	manifest, err := image.Manifest()
	if err != nil {
		return nil, err
	}
	var sizes []int64
	for _, layer := range manifest.Layers {
		sizes = append(sizes, layer.Size)
	}
	return sizes, nil
}
