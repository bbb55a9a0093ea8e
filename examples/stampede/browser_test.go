package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bellwethercache/bellwether/internal/servertest"
)

// window is how a page is looked at.
type window struct {
	width, height int
	dark          bool
}

// look opens a page without a network and returns what the browser prints.
func (w window) look(t *testing.T, path string, flags ...string) (stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	args := append([]string{
		"--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
		"--disable-background-networking", "--disable-component-update", "--host-resolver-rules=MAP * ~NOTFOUND",
		"--enable-logging=stderr", "--hide-scrollbars", "--user-data-dir=" + t.TempDir(), "--virtual-time-budget=2000",
		fmt.Sprintf("--window-size=%d,%d", w.width, w.height),
	}, flags...)
	if w.dark {
		args = append(args, "--blink-settings=preferredColorScheme=0")
	}
	cmd := exec.CommandContext(ctx, servertest.BrowserPath(t), append(args, "file://"+path)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, errOut.String())
	}
	return out.String(), errOut.String()
}

// probe is appended to a copy of the page: it uses the page as a reader would,
// and leaves what it saw in the document.
const probe = `<script>
addEventListener('load', async () => {
  const seen = { errors: window.probeErrors, width: innerWidth, page: document.documentElement.scrollWidth,
    dark: matchMedia('(prefers-color-scheme: dark)').matches, paper: getComputedStyle(document.body).backgroundColor };
  const rows = [...document.querySelectorAll('.row')];
  const strips = [...document.querySelectorAll('.row a > i:not(.woken):not(.looked)')];
  seen.rows = rows.length;
  seen.invisible = strips.filter(s => s.getBoundingClientRect().width < 2 || s.getBoundingClientRect().height < 8).length;
  const lane = rows[0].getBoundingClientRect();
  seen.outside = strips.filter(s => s.getBoundingClientRect().left < lane.left - 1 || s.getBoundingClientRect().left > lane.right).length;
  // A line ends on the strip that it comes from.
  const ends = rows.map(r => r.getBoundingClientRect()).map(b => Math.round(b.top + b.height / 2));
  seen.astray = [...document.querySelectorAll('.back .link')].filter(l => {
    const b = l.getBoundingClientRect();
    return ![b.top, b.bottom].every(y => ends.some(e => Math.abs(e - y) <= 2));
  }).length;
  seen.lines = document.querySelectorAll('.back .link').length;
  // By keyboard: the first strip, the next one, and from a wait to whom it waited for.
  const key = (k) => document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key: k, bubbles: true, cancelable: true }));
  rows[0].querySelector('a').focus();
  const outline = getComputedStyle(document.activeElement);
  seen.outline = outline.outlineStyle !== 'none' && parseFloat(outline.outlineWidth) >= 2;
  key('ArrowDown');
  seen.down = document.activeElement.closest('.row') === rows[1];
  seen.told = document.querySelector('.told').textContent === rows[1].querySelector('.vh').textContent;
  const wait = document.querySelector('.row.wait a');
  wait.focus();
  wait.click();
  await new Promise(done => setTimeout(done, 100));
  seen.followed = document.activeElement === document.querySelector(wait.hash);
  seen.small = [...document.querySelectorAll('.row a, button, summary')].filter(e => e.getBoundingClientRect().height < 24).length;
  // Enlarged, the timeline scrolls in its own box.
  [...document.querySelectorAll('.tools button')].at(-1).click();
  const box = document.querySelector('.scroll');
  seen.enlarged = box.scrollWidth > 5 * box.clientWidth;
  seen.pageAfter = document.documentElement.scrollWidth;
  parent.postMessage(JSON.stringify(seen), '*');
});
</script>`

// frame shows a page as wide as a phone, which the browser's window cannot be,
// and keeps what the probe says.
const frame = `<!doctype html><meta name="color-scheme" content="light dark"><body style="margin:0">
<script>addEventListener('message', e => {
  const out = document.createElement('pre');
  out.id = 'seen'; out.textContent = e.data;
  document.body.append(out);
});</script>
<iframe src="probed.html" width="%d" height="%d" style="border:0"></iframe>`

// seen is what the probe saw.
type seen struct {
	Errors                          []string
	Width, Page, PageAfter          int
	Rows, Invisible, Outside, Small int
	Lines, Astray                   int
	Dark, Outline, Down, Told       bool
	Followed, Enlarged              bool
	Paper                           string
}

func (w window) probe(t *testing.T, path string) (s seen) {
	t.Helper()
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(page), "<head>",
		"<head><script>window.probeErrors=[];addEventListener('error',e=>probeErrors.push(String(e.message)),true)</script>", 1)
	dir := t.TempDir()
	for name, text := range map[string]string{"probed.html": text + probe, "frame.html": fmt.Sprintf(frame, w.width, w.height)} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, errOut := w.look(t, filepath.Join(dir, "frame.html"), "--dump-dom")
	m := regexp.MustCompile(`<pre id="seen">(.*?)</pre>`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("the probe left nothing: a script of the page may have failed\n%s", errOut)
	}
	if err := json.Unmarshal([]byte(html.UnescapeString(m[1])), &s); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(errOut, ":CONSOLE") {
		t.Errorf("on the console:\n%s", errOut)
	}
	return s
}

// A real browser shows the page, at a phone's width, on a desk, in the dark.
func TestDemoReportInABrowser(t *testing.T) {
	servertest.BrowserPath(t) // that there is one
	path, d, _ := runReport(t, "--embedded --processes 4 --kill-holder --latency 400ms -l 60000 -r 64 -t 16")
	for _, w := range []window{{320, 800, false}, {1280, 900, false}, {320, 800, true}, {1280, 900, true}} {
		t.Run(fmt.Sprintf("%dx%d dark %v", w.width, w.height, w.dark), func(t *testing.T) {
			s := w.probe(t, path)
			if s.Width != w.width || s.Dark != w.dark {
				t.Fatalf("the window is %d wide, dark %v", s.Width, s.Dark)
			}
			if s.Page > s.Width || s.PageAfter > s.Width {
				t.Errorf("the page is %d wide, and %d with the timeline enlarged, in a window of %d", s.Page, s.PageAfter, s.Width)
			}
			if len(s.Errors) != 0 {
				t.Errorf("errors: %q", s.Errors)
			}
			if n := len(all(d.Node, ".row")); s.Rows != n || s.Invisible+s.Outside != 0 {
				t.Errorf("%d rows, want %d; %d strips cannot be seen, %d are outside", s.Rows, n, s.Invisible, s.Outside)
			}
			if s.Lines == 0 || s.Astray != 0 {
				t.Errorf("%d of %d lines do not end on a strip", s.Astray, s.Lines)
			}
			if !s.Outline || !s.Down || !s.Told || !s.Followed || !s.Enlarged || s.Small != 0 {
				t.Errorf("focus shown %v, arrow %v, told %v, followed %v, enlarged %v, %d targets below 24 pixels",
					s.Outline, s.Down, s.Told, s.Followed, s.Enlarged, s.Small)
			}
			w.checkPicture(t, path)
		})
	}
}

// checkPicture looks at the pixels: paper in the right shade, and much on it.
func (w window) checkPicture(t *testing.T, path string) {
	t.Helper()
	shot := filepath.Join(t.TempDir(), "shot.png")
	if dir := os.Getenv("STAMPEDE_SHOTS"); dir != "" { // for whoever wants to look
		shot = filepath.Join(dir, fmt.Sprintf("%d-dark-%v.png", w.width, w.dark))
	}
	w.look(t, path, "--screenshot="+shot)
	f, err := os.Open(shot)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	paper := color.GrayModel.Convert(img.At(2, 2)).(color.Gray).Y //nolint:forcetypeassert // that is what a GrayModel makes
	if dark := paper < 60; dark != w.dark || !dark && paper < 200 {
		t.Errorf("the paper is %d of 255", paper)
	}
	if share := inked(img, paper); share < 0.02 || share > 0.9 {
		t.Errorf("%.1f %% of the page is not paper, want a page that has something on it", 100*share)
	}
}

// inked is the share of pixels that differ from the paper.
func inked(img image.Image, paper uint8) float64 {
	b := img.Bounds()
	n := 0
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			d := int(color.GrayModel.Convert(img.At(x, y)).(color.Gray).Y) - int(paper) //nolint:forcetypeassert // as above
			if d > 24 || d < -24 {
				n++
			}
		}
	}
	return float64(n) / float64(b.Dx()*b.Dy())
}
