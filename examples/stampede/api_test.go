package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// withAPI starts the built-in API for a test.
func withAPI(t *testing.T, latency time.Duration) *weatherAPI {
	t.Helper()
	a, err := startAPI(latency)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.close)
	return a
}

// fetch asks the API itself, without a connection that outlives the answer.
func fetch(t *testing.T, url string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestAPIHasOpenWeatherMapsShape(t *testing.T) {
	a := withAPI(t, time.Millisecond)
	status, body := fetch(t, a.url+"/data/2.5/weather?q=london,gb&appid=k&units=metric")
	var got map[string]any
	if err := json.Unmarshal([]byte(body), &got); err != nil || status != http.StatusOK {
		t.Fatalf("status %d, %v: %s", status, err, body)
	}
	for field, keys := range map[string]string{
		"coord": "lon lat", "main": "temp feels_like temp_min temp_max pressure humidity",
		"wind": "speed deg", "clouds": "all", "sys": "country sunrise sunset",
	} {
		object, _ := got[field].(map[string]any)
		for _, key := range strings.Fields(keys) {
			if _, ok := object[key]; !ok {
				t.Errorf("no %s.%s in %s", field, key, body)
			}
		}
	}
	for _, field := range strings.Fields("weather base visibility dt timezone id name cod") {
		if _, ok := got[field]; !ok {
			t.Errorf("no %s in %s", field, body)
		}
	}
	if n := a.take(cities[0]); n != 1 {
		t.Errorf("London was counted %d times, want 1", n)
	}
	if n := a.take(cities[0]); n != 0 {
		t.Errorf("after take, London was counted %d times, want 0", n)
	}
}

func TestAPIRefuses(t *testing.T) {
	a := withAPI(t, time.Millisecond)
	for query, want := range map[string]int{
		"q=London":            http.StatusUnauthorized,
		"appid=k":             http.StatusBadRequest,
		"q=Atlantis&appid=k":  http.StatusNotFound,
		"q=London,FR&appid=k": http.StatusNotFound,
	} {
		if status, body := fetch(t, a.url+"/data/2.5/weather?"+query); status != want || !strings.Contains(body, `"message"`) {
			t.Errorf("%s = %d %s, want %d with a message", query, status, body, want)
		}
	}
}

func TestAPIUnits(t *testing.T) {
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	metric, kelvin, imperial := climate(cities[0], now, "metric"), climate(cities[0], now, ""), climate(cities[0], now, "imperial")
	if d := kelvin.Main.Temp - metric.Main.Temp - 273.15; d > 0.02 || d < -0.02 {
		t.Errorf("%v °C is %v K", metric.Main.Temp, kelvin.Main.Temp)
	}
	if d := imperial.Main.Temp - (metric.Main.Temp*9/5 + 32); d > 0.02 || d < -0.02 {
		t.Errorf("%v °C is %v °F", metric.Main.Temp, imperial.Main.Temp)
	}
}

func TestCities(t *testing.T) {
	if len(cities) < 50 {
		t.Errorf("%d cities, want at least 50", len(cities))
	}
	keys, ids := make(map[string]bool), make(map[int]bool)
	for _, c := range cities {
		if keys[c.key()] || ids[c.ID] {
			t.Errorf("%v is there twice, or its id is", c)
		}
		keys[c.key()], ids[c.ID] = true, true
		if c.Lat < -90 || c.Lat > 90 || c.Lon < -180 || c.Lon > 180 {
			t.Errorf("%v is not on this planet", c)
		}
		if found, ok := findCity(c.Name + "," + c.Country); !ok || found != c {
			t.Errorf("%v is not found by its name", c)
		}
		for month := range 12 {
			w := climate(c, time.Date(2026, time.Month(month+1), 15, 9, 0, 0, 0, time.UTC), "metric")
			if w.Main.Temp < -25 || w.Main.Temp > 50 || w.Main.Humidity < 10 || w.Main.Humidity > 100 || w.Sys.Sunrise >= w.Sys.Sunset {
				t.Errorf("%v in month %d: %+v", c, month+1, w)
			}
		}
	}
}

// An error of the API must not show the key, which is part of its address.
func TestSourceErrorsHideTheKey(t *testing.T) {
	for name, base := range map[string]string{
		"refused": "http://127.0.0.1:1", "unauthorized": withAPI(t, time.Millisecond).url + "/elsewhere", "bad": "http://bad host",
	} {
		src := newSource(base, "SECRET", 1, nil)
		_, err := src.load(t.Context(), cities[0])
		src.close()
		if err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%s: %v, want an error without the key", name, err)
		}
	}
}
