package main

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"time"
)

// jitter is by what share the built-in API's latency varies, both ways.
const jitter = 0.2

// weatherAPI is the built-in stand-in for OpenWeatherMap: slow, and counting.
type weatherAPI struct {
	url     string
	latency time.Duration
	server  *http.Server
	done    chan struct{}

	mu    sync.Mutex
	calls map[string]int // by city name
}

// startAPI serves on a free port of the loopback interface.
func startAPI(latency time.Duration) (*weatherAPI, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("weather API: %w", err)
	}
	a := &weatherAPI{
		url: "http://" + ln.Addr().String(), latency: latency,
		done: make(chan struct{}), calls: make(map[string]int),
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /data/2.5/weather", a.weather)
	a.server = &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(a.done)
		_ = a.server.Serve(ln) // always http.ErrServerClosed
	}()
	return a, nil
}

func (a *weatherAPI) close() {
	_ = a.server.Close()
	<-a.done
}

// take returns how often c was asked for since the last take.
func (a *weatherAPI) take(c city) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := a.calls[c.Name]
	delete(a.calls, c.Name)
	return n
}

func (a *weatherAPI) weather(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("appid") == "" {
		refuse(w, http.StatusUnauthorized, 401, "Invalid API key. Pass one as appid.")
		return
	}
	if q.Get("q") == "" {
		refuse(w, http.StatusBadRequest, "400", "Nothing to geocode")
		return
	}
	c, ok := findCity(q.Get("q"))
	if !ok {
		refuse(w, http.StatusNotFound, "404", "city not found")
		return
	}
	a.mu.Lock()
	a.calls[c.Name]++
	a.mu.Unlock()
	if wait(r.Context(), vary(a.latency)) != nil {
		return
	}
	answer(w, http.StatusOK, climate(c, time.Now().UTC(), q.Get("units")))
}

// refuse answers with an error in OpenWeatherMap's words; code is a number or,
// as there, a string.
func refuse(w http.ResponseWriter, status int, code any, message string) {
	answer(w, status, map[string]any{"cod": code, "message": message})
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the caller has gone
}

// vary spreads d by the jitter.
func vary(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (1 - jitter + 2*jitter*rand.Float64()))
}

// wait lets d pass, or returns the cause of ctx.
func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// climate makes up the weather of c at now: the season, the hour, and chance
// that is the same for everybody who asks within the hour.
func climate(c city, now time.Time, units string) weather {
	local := now.Add(time.Duration(c.Zone * float64(time.Hour)))
	chance := rand.New(rand.NewPCG(hashOf(c.Name), uint64(now.Unix()/3600)))
	season := math.Cos(2 * math.Pi * float64(local.YearDay()-200) / 365)
	if c.Lat < 0 {
		season = -season
	}
	hour := float64(local.Hour()) + float64(local.Minute())/60
	temp := c.Mean + c.Swing*season + 3.5*math.Cos(2*math.Pi*(hour-15)/24) + 4*(chance.Float64()-0.5)
	humidity := min(100, max(10, c.Humidity+chance.IntN(21)-10))
	speed := 0.5 + 7*chance.Float64()
	sky, cover := skyOf(humidity, temp, chance)
	rise, set := daylight(c, local)
	w := weather{
		Coord:      coord{Lon: c.Lon, Lat: c.Lat},
		Base:       "stations",
		Visibility: 10000,
		Main: measures{
			Temp: temp, FeelsLike: temp - 0.3*speed + 0.02*float64(humidity-50),
			Min: temp - 1.5, Max: temp + 1.5,
			Pressure: 1005 + chance.IntN(21), Humidity: humidity,
		},
		Wind:     wind{Speed: round2(speed), Deg: chance.IntN(360)},
		Clouds:   clouds{All: cover},
		Time:     now.Unix(),
		Sys:      sun{Country: c.Country, Sunrise: rise, Sunset: set},
		Timezone: int(c.Zone * 3600),
		ID:       c.ID,
		Name:     c.Name,
		Code:     http.StatusOK,
	}
	sky.Icon += "d"
	if now.Unix() < rise || now.Unix() > set {
		sky.Icon = sky.Icon[:2] + "n"
	}
	w.Conditions = []condition{sky}
	w.in(units)
	return w
}

// skyOf picks a sky with OpenWeatherMap's ids, and how much of it is clouded.
func skyOf(humidity int, temp float64, chance *rand.Rand) (condition, int) {
	wet := humidity + chance.IntN(30) - 15
	switch {
	case wet > 80 && temp < 0.5:
		return condition{600, "Snow", "light snow", "13"}, 90 + chance.IntN(11)
	case wet > 85:
		return condition{501, "Rain", "moderate rain", "10"}, 90 + chance.IntN(11)
	case wet > 78:
		return condition{500, "Rain", "light rain", "10"}, 75 + chance.IntN(25)
	case wet > 68:
		return condition{804, "Clouds", "overcast clouds", "04"}, 85 + chance.IntN(16)
	case wet > 58:
		return condition{802, "Clouds", "scattered clouds", "03"}, 25 + chance.IntN(26)
	}
	return condition{800, "Clear", "clear sky", "01"}, chance.IntN(10)
}

// daylight is sunrise and sunset of c on the local day, to a few minutes.
func daylight(c city, local time.Time) (rise, set int64) {
	decl := -23.44 * math.Pi / 180 * math.Cos(2*math.Pi*float64(local.YearDay()+10)/365)
	x := -math.Tan(c.Lat*math.Pi/180) * math.Tan(decl)
	half := 12 / math.Pi * math.Acos(min(1, max(-1, x))) // hours from noon
	midnight := time.Date(local.Year(), local.Month(), local.Day(), 0, 0, 0, 0, time.UTC)
	noon := 12 - c.Lon/15 // of the sun, in UTC
	at := func(h float64) int64 { return midnight.Add(time.Duration(h * float64(time.Hour))).Unix() }
	return at(noon - half), at(noon + half)
}

// in converts from metric units.
func (w *weather) in(units string) {
	convert := func(celsius float64) float64 { return celsius + 273.15 }
	switch units {
	case "metric":
		convert = func(celsius float64) float64 { return celsius }
	case "imperial":
		convert = func(celsius float64) float64 { return celsius*9/5 + 32 }
		w.Wind.Speed = round2(w.Wind.Speed * 2.23694)
	}
	for _, t := range []*float64{&w.Main.Temp, &w.Main.FeelsLike, &w.Main.Min, &w.Main.Max} {
		*t = round2(convert(*t))
	}
}

func round2(x float64) float64 { return math.Round(x*100) / 100 }

func hashOf(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s)) // never fails
	return h.Sum64()
}
