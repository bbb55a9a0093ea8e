package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"
)

// weather is the current weather of a city, in the shape of OpenWeatherMap's
// /data/2.5/weather.
type weather struct {
	Coord      coord       `json:"coord"`
	Conditions []condition `json:"weather"`
	Base       string      `json:"base"`
	Main       measures    `json:"main"`
	Visibility int         `json:"visibility"`
	Wind       wind        `json:"wind"`
	Clouds     clouds      `json:"clouds"`
	Time       int64       `json:"dt"`
	Sys        sun         `json:"sys"`
	Timezone   int         `json:"timezone"`
	ID         int         `json:"id"`
	Name       string      `json:"name"`
	Code       int         `json:"cod"`
}

type coord struct {
	Lon float64 `json:"lon"`
	Lat float64 `json:"lat"`
}

type condition struct {
	ID          int    `json:"id"`
	Main        string `json:"main"`
	Description string `json:"description"`
	Icon        string `json:"icon"`
}

type measures struct {
	Temp      float64 `json:"temp"`
	FeelsLike float64 `json:"feels_like"`
	Min       float64 `json:"temp_min"`
	Max       float64 `json:"temp_max"`
	Pressure  int     `json:"pressure"`
	Humidity  int     `json:"humidity"`
}

type wind struct {
	Speed float64 `json:"speed"`
	Deg   int     `json:"deg"`
}

type clouds struct {
	All int `json:"all"`
}

type sun struct {
	Country string `json:"country"`
	Sunrise int64  `json:"sunrise"`
	Sunset  int64  `json:"sunset"`
}

// String is one line for people.
func (w *weather) String() string {
	sky := "sky unknown"
	if len(w.Conditions) > 0 {
		sky = w.Conditions[0].Description
	}
	return fmt.Sprintf("%.1f °C (feels like %.1f), %s, humidity %d %%, wind %.1f m/s",
		w.Main.Temp, w.Main.FeelsLike, sky, w.Main.Humidity, w.Wind.Speed)
}

// source is the expensive thing that the cache stands before: a weather API
// over HTTP, ours or the real one.
type source struct {
	base, key string
	client    *http.Client
	loading   func(holder bool, thread int) // told of each call as it begins; may be nil
}

// apiTimeout bounds one call of the API.
const apiTimeout = 30 * time.Second

func newSource(base, key string, threads int, loading func(holder bool, thread int)) *source {
	tr := http.DefaultTransport.(*http.Transport).Clone() //nolint:forcetypeassert // documented to be one
	tr.MaxIdleConnsPerHost = threads
	return &source{base: base, key: key, client: &http.Client{Transport: tr, Timeout: apiTimeout}, loading: loading}
}

func (s *source) close() { s.client.CloseIdleConnections() }

// load asks the API. It is the loader of the cache.
func (s *source) load(ctx context.Context, c city) (w weather, err error) {
	tr := tracked(ctx)
	holder, thread := tr.callAPI()
	if s.loading != nil {
		s.loading(holder, thread)
	}
	began := time.Now()
	defer func() { tr.calledAPI(time.Since(began), err) }()
	return s.ask(ctx, c)
}

func (s *source) ask(ctx context.Context, c city) (w weather, err error) {
	query := url.Values{"q": {c.Name + "," + c.Country}, "appid": {s.key}, "units": {"metric"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+"/data/2.5/weather?"+query.Encode(), nil)
	if err != nil {
		return w, errors.New("weather API: bad address")
	}
	resp, err := s.client.Do(req)
	if err != nil {
		if ue := new(url.Error); errors.As(err, &ue) {
			err = ue.Err // without the address: it holds the key
		}
		return w, fmt.Errorf("weather API: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return w, fmt.Errorf("weather API: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var refusal struct{ Message string }
		_ = json.Unmarshal(body, &refusal) // no message is fine
		return w, fmt.Errorf("weather API: %s %s", resp.Status, refusal.Message)
	}
	if err := json.Unmarshal(body, &w); err != nil {
		return w, fmt.Errorf("weather API: %w", err)
	}
	return w, nil
}
