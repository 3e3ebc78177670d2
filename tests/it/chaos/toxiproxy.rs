//! toxiproxy through its HTTP API: one proxy a server, faults ("toxics") put on it and taken off again.

use serde_json::{Value, json};

/// A proxy of our own on a shared toxiproxy; deleted when dropped.
pub struct Proxy {
    api: String,
    name: String,
    /// `http://127.0.0.1:…`
    pub address: String,
    http: reqwest::Client,
}

impl Proxy {
    /// From a free port to `target`, an `http://` address.
    pub async fn create(api: &str, name: &str, target: &str) -> Self {
        let http = reqwest::Client::new();
        let upstream = target.trim_start_matches("http://");
        let body = json!({ "name": name, "listen": "127.0.0.1:0", "upstream": upstream, "enabled": true });
        let answer = http.post(format!("{api}/proxies")).json(&body).send().await.expect("toxiproxy answers");
        let proxy: Value = answer.json().await.expect("JSON");
        let listen = proxy["listen"].as_str().unwrap_or_else(|| panic!("create the proxy {name}: {proxy}"));
        Self { api: api.to_owned(), name: name.to_owned(), address: format!("http://{listen}"), http }
    }

    /// Puts a toxic on the way of answers (`downstream`) or requests (`upstream`).
    pub async fn add(&self, kind: &str, stream: &str, attributes: Value) {
        let body = json!({ "name": kind, "type": kind, "stream": stream, "toxicity": 1.0, "attributes": attributes });
        let url = format!("{}/proxies/{}/toxics", self.api, self.name);
        let answer = self.http.post(url).json(&body).send().await.expect("toxiproxy answers");
        // Two faults that overlap may want the same toxic.
        let is_there = answer.status().is_success() || answer.status() == reqwest::StatusCode::CONFLICT;
        assert!(is_there, "{kind} on {}: {}", self.name, answer.status());
    }

    /// Takes connections or refuses them; those that are open are cut.
    pub async fn set_enabled(&self, enabled: bool) {
        let url = format!("{}/proxies/{}", self.api, self.name);
        let answer = self.http.post(url).json(&json!({ "enabled": enabled })).send().await.expect("toxiproxy answers");
        assert!(answer.status().is_success(), "{}: {}", self.name, answer.status());
    }

    /// Takes all faults away.
    pub async fn heal(&self) {
        let url = format!("{}/proxies/{}/toxics", self.api, self.name);
        let toxics: Value = self.http.get(&url).send().await.expect("toxiproxy answers").json().await.expect("JSON");
        for toxic in toxics.as_array().into_iter().flatten() {
            let name = toxic["name"].as_str().unwrap_or_default();
            // toxiproxy waits until what the toxic holds back has gone.
            let _ = self.http.delete(format!("{url}/{name}")).send().await;
        }
        self.set_enabled(true).await;
    }
}

impl Drop for Proxy {
    /// toxiproxy is shared and outlives the test, also one that fails.
    fn drop(&mut self) {
        use std::io::{Read, Write};
        let host = self.api.trim_start_matches("http://");
        let Ok(mut stream) = std::net::TcpStream::connect(host) else { return };
        let request = format!("DELETE /proxies/{} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", self.name);
        if stream.write_all(request.as_bytes()).is_ok() {
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
}
