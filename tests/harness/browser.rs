//! A browser as a person has it: Chromium, driven by its own driver over the W3C WebDriver protocol.
//!
//! What WebDriver has no words for (no script, a phone's screen, where downloads go) is said in the browser's own protocol, which the
//! driver passes on.

mod wire;

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, bail};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use self::wire::Wire;
use crate::eventually;

/// A browser with one window and a profile of its own; closed when dropped.
pub struct Browser {
    driver: Child,
    wire: Wire,
    session: String,
}

/// Something on a page, for as long as it is there.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Element(String);

/// Keys that are no letters.
#[derive(Clone, Copy, Debug)]
pub enum Key {
    /// To the next thing.
    Tab,
    /// Does it.
    Enter,
    /// Chooses it.
    Space,
    /// The next choice.
    Down,
}

impl Browser {
    /// Starts one. `None` where there is none: `tests/prepare` installs it.
    ///
    /// # Errors
    /// There is one, and it does not start.
    pub fn start() -> anyhow::Result<Option<Self>> {
        let found = find(&["chromedriver"]).zip(find(&BROWSERS));
        let Some((driver, browser)) = found else {
            return Ok(None);
        };
        let mut driver = Command::new(driver)
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start chromedriver")?;
        let port = port(&mut driver)?;
        let wire = Wire::to(port)?;
        let capabilities = capabilities(&browser)?;
        let mut started = Self {
            driver,
            wire,
            session: String::new(),
        };
        let session = started.wire.post("/session", &capabilities)?;
        let session = session["sessionId"].as_str().context("no session")?;
        session.clone_into(&mut started.session);
        Ok(Some(started))
    }

    /// Goes to an address, and waits until it is loaded.
    ///
    /// # Errors
    /// The browser does not answer.
    pub fn open(&self, url: &str) -> anyhow::Result<()> {
        self.command("url", &json!({ "url": url }))?;
        Ok(())
    }

    /// Where it is.
    ///
    /// # Errors
    /// The browser does not answer.
    pub fn url(&self) -> anyhow::Result<String> {
        self.text_of(&self.ask("url")?)
    }

    /// What the window says.
    ///
    /// # Errors
    /// The browser does not answer.
    pub fn title(&self) -> anyhow::Result<String> {
        self.text_of(&self.ask("title")?)
    }

    /// The first thing that a selector finds.
    ///
    /// # Errors
    /// There is none.
    pub fn find(&self, selector: &str) -> anyhow::Result<Element> {
        let found = self.all(selector)?.into_iter().next();
        found.with_context(|| format!("nothing on the page is `{selector}`"))
    }

    /// Everything that a selector finds.
    ///
    /// # Errors
    /// The browser does not answer.
    pub fn all(&self, selector: &str) -> anyhow::Result<Vec<Element>> {
        let using = json!({ "using": "css selector", "value": selector });
        let found = self.command("elements", &using)?;
        let found = found.as_array().context("no list of elements")?;
        found.iter().map(element).collect()
    }

    /// What has the focus.
    ///
    /// # Errors
    /// Nothing has.
    pub fn focused(&self) -> anyhow::Result<Element> {
        element(&self.ask("element/active")?)
    }

    /// Clicks where a person would.
    ///
    /// # Errors
    /// It is not to be seen, or something lies upon it.
    pub fn click(&self, element: &Element) -> anyhow::Result<()> {
        self.command(&format!("element/{}/click", element.0), &json!({}))?;
        Ok(())
    }

    /// What can be read there.
    ///
    /// # Errors
    /// It is gone.
    pub fn text(&self, element: &Element) -> anyhow::Result<String> {
        self.text_of(&self.ask(&format!("element/{}/text", element.0))?)
    }

    /// What can be read at the first thing that a selector finds.
    ///
    /// # Errors
    /// There is none.
    pub fn text_at(&self, selector: &str) -> anyhow::Result<String> {
        self.text(&self.find(selector)?)
    }

    /// Presses keys, wherever the focus is.
    ///
    /// # Errors
    /// The browser does not answer.
    pub fn press(&self, keys: &[Key]) -> anyhow::Result<()> {
        let strokes: Vec<Value> = keys
            .iter()
            .flat_map(|key| {
                ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key.code() }))
            })
            .collect();
        let actions = json!({ "actions": [{ "type": "key", "id": "keys", "actions": strokes }] });
        self.command("actions", &actions)?;
        Ok(())
    }

    /// What a function's body returns on the page.
    ///
    /// # Errors
    /// It throws.
    pub fn evaluate(&self, body: &str) -> anyhow::Result<Value> {
        self.command("execute/sync", &json!({ "script": body, "args": [] }))
    }

    /// Waits until something is so; `what` says what, for whoever reads that it never was.
    ///
    /// # Panics
    /// If it never comes about.
    pub fn wait(&self, what: &str, is_so: impl Fn(&Self) -> anyhow::Result<bool>) {
        // A page that is just being left does not answer, and is looked at again.
        eventually(what, || is_so(self).unwrap_or(false));
    }

    /// Makes the page so wide, as on a screen of that size.
    ///
    /// # Errors
    /// The browser does not answer.
    pub fn resize(&self, width: u32, height: u32) -> anyhow::Result<()> {
        let screen =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.protocol("Emulation.setDeviceMetricsOverride", &screen)
    }

    /// Prefers `light` or `dark`, as a person does.
    ///
    /// # Errors
    /// The browser does not answer.
    pub fn prefer(&self, scheme: &str) -> anyhow::Result<()> {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.protocol(
            "Emulation.setEmulatedMedia",
            &json!({ "features": features }),
        )
    }

    /// Runs no script of any page from now on.
    ///
    /// # Errors
    /// The browser does not answer.
    pub fn without_scripts(&self) -> anyhow::Result<()> {
        self.protocol(
            "Emulation.setScriptExecutionDisabled",
            &json!({ "value": true }),
        )
    }

    /// Keeps what is downloaded there.
    ///
    /// # Errors
    /// The browser does not answer.
    pub fn download_to(&self, folder: &Path) -> anyhow::Result<()> {
        let behavior = json!({ "behavior": "allow", "downloadPath": folder });
        self.protocol("Browser.setDownloadBehavior", &behavior)
    }

    /// The whole page as a picture, also what would have to be scrolled to.
    ///
    /// # Errors
    /// The browser does not answer, or the file cannot be written.
    pub fn screenshot(&self, file: &Path) -> anyhow::Result<()> {
        let whole = json!({ "captureBeyondViewport": true, "format": "png" });
        let shot = self.say("Page.captureScreenshot", &whole)?;
        let shot = shot["data"].as_str().context("no picture")?;
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(fs::write(file, BASE64_STANDARD.decode(shot)?)?)
    }

    /// What the browser complained of since it was asked last: errors of scripts, of policies, of what could not be loaded.
    ///
    /// # Errors
    /// The browser does not answer.
    pub fn complaints(&self) -> anyhow::Result<Vec<String>> {
        let log = self.command("se/log", &json!({ "type": "browser" }))?;
        let lines = log.as_array().context("no log")?.iter();
        let lines = lines.filter_map(|line| line["message"].as_str());
        Ok(lines.map(str::to_owned).collect())
    }

    /// Name, value and attributes of the cookies of the page.
    ///
    /// # Errors
    /// The browser does not answer.
    pub fn cookies(&self) -> anyhow::Result<Value> {
        self.ask("cookie")
    }

    fn protocol(&self, method: &str, parameters: &Value) -> anyhow::Result<()> {
        self.say(method, parameters)?;
        Ok(())
    }

    fn say(&self, method: &str, parameters: &Value) -> anyhow::Result<Value> {
        let command = json!({ "cmd": method, "params": parameters });
        self.command("goog/cdp/execute", &command)
    }

    fn command(&self, what: &str, parameters: &Value) -> anyhow::Result<Value> {
        self.wire.post(&self.path(what), parameters)
    }

    fn ask(&self, what: &str) -> anyhow::Result<Value> {
        self.wire.get(&self.path(what))
    }

    fn path(&self, what: &str) -> String {
        format!("/session/{}/{what}", self.session)
    }

    fn text_of(&self, value: &Value) -> anyhow::Result<String> {
        let text = value.as_str().context("the browser gave no text")?;
        Ok(text.to_owned())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends its browser with the session; both fail if they are gone already.
        if !self.session.is_empty() {
            let _ended = self.wire.delete(&format!("/session/{}", self.session));
        }
        let _ended = self.driver.kill();
        let _ended = self.driver.wait();
    }
}

impl Key {
    /// As WebDriver writes it.
    fn code(self) -> &'static str {
        match self {
            Self::Tab => "\u{e004}",
            Self::Enter => "\u{e007}",
            Self::Space => " ",
            Self::Down => "\u{e015}",
        }
    }
}

/// The port that the driver found for itself.
fn port(driver: &mut Child) -> anyhow::Result<u16> {
    let stdout = driver.stdout.take().context("its output is piped")?;
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        if let Some((_, port)) = line.split_once("started successfully on port ") {
            return Ok(port.trim_end_matches('.').parse()?);
        }
    }
    bail!("chromedriver ended before it listened")
}

fn capabilities(browser: &Path) -> anyhow::Result<Value> {
    let mut arguments = vec![
        "--headless=new",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--window-size=1280,900",
    ];
    if fs::metadata("/proc/self")?.uid() == 0 {
        // Chromium's sandbox is not for root.
        arguments.push("--no-sandbox");
    }
    Ok(json!({ "capabilities": { "alwaysMatch": {
        "browserName": "chrome",
        "goog:chromeOptions": { "binary": browser, "args": arguments },
        "goog:loggingPrefs": { "browser": "ALL" },
    } } }))
}

fn element(value: &Value) -> anyhow::Result<Element> {
    let id = value[ELEMENT].as_str().context("no element")?;
    Ok(Element(id.to_owned()))
}

fn find(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let files = names
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    files.into_iter().find(|file| file.is_file())
}

/// As Debian, Ubuntu and Google call it.
const BROWSERS: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];

/// Key of an element's id, by the standard.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
