package main

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// Text is readable (WCAG 2 AA: 4.5 to 1), and what is no text can be made out
// (3 to 1), in the light and in the dark.
func TestPageContrast(t *testing.T) {
	light, rest, ok := strings.Cut(pageCSS, "@media (prefers-color-scheme: dark)")
	if !ok {
		t.Fatal("the style knows no dark")
	}
	dark, _, _ := strings.Cut(rest, "\n}\n")
	for name, css := range map[string]string{"light": light, "dark": dark} {
		colours := make(map[string]float64)
		for _, m := range regexp.MustCompile(`--([a-z-]+): #([0-9a-f]{6})`).FindAllStringSubmatch(css, -1) {
			colours[m[1]] = luminance(m[2])
		}
		need := func(limit float64, front string, backs ...string) {
			for _, back := range backs {
				f, fok := colours[front]
				b, bok := colours[back]
				if c := (max(f, b) + 0.05) / (min(f, b) + 0.05); !fok || !bok || c < limit {
					t.Errorf("%s: %s on %s is %.2f to 1, want %v", name, front, back, c, limit)
				}
			}
		}
		need(4.5, "ink", "paper", "card", "load-fill", "wait-fill", "wait-stripe", "follow-fill", "hit-fill", "bad-fill", "bad-stripe")
		need(4.5, "soft", "paper", "card")
		need(4.5, "hit", "paper", "card")
		need(4.5, "bad", "paper", "card")
		need(4.5, "load", "card")
		need(3, "load", "load-fill")
		need(3, "wait", "card", "wait-fill", "wait-stripe")
		need(3, "follow", "card", "follow-fill")
		need(3, "hit", "hit-fill")
		need(3, "bad", "bad-fill", "load-fill")
		need(3, "link", "card")
		need(3, "focus", "card", "paper")
	}
}

// luminance is WCAG's relative luminance of rrggbb.
func luminance(hex string) float64 {
	sum := 0.0
	for i, weight := range []float64{0.2126, 0.7152, 0.0722} {
		n, _ := strconv.ParseUint(hex[2*i:2*i+2], 16, 8)
		c := float64(n) / 255
		if c <= 0.03928 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		sum += weight * c
	}
	return sum
}
