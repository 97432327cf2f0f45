//! The order in which endpoints are found, and what is refused.

use super::*;

fn texts(route: Result<Route, CliError>) -> Vec<String> {
    route.unwrap().endpoints.iter().map(ToString::to_string).collect()
}

fn refusal(text: &str) -> String {
    text.parse::<Endpoint>().unwrap_err().render(false, 80)
}

#[test]
fn a_flag_wins_over_all_else() {
    let dir = tempfile::tempdir().unwrap();
    let config = "context = 'lab'\n[contexts.lab]\nendpoints = ['127.0.0.1:3', '127.0.0.1:4']\n\
                  [contexts.home]\nendpoints = ['localhost:5']\n";
    fs::write(dir.path().join("config.toml"), config).unwrap();
    fs::create_dir(dir.path().join(DEV_DIRECTORY)).unwrap();
    fs::write(dir.path().join(DEV_DIRECTORY).join(DEV_FILE), "127.0.0.1:8,127.0.0.1:9\n").unwrap();

    let mut places = Places { here: dir.path().to_owned(), ..Places::default() };
    assert_eq!(texts(resolve(None, None, &places)), ["127.0.0.1:8", "127.0.0.1:9"]);
    places.config = Some(dir.path().to_owned());
    assert_eq!(texts(resolve(None, None, &places)), ["127.0.0.1:3", "127.0.0.1:4"]);
    places.endpoint = Some("127.0.0.1:1".into());
    assert_eq!(texts(resolve(None, None, &places)), ["127.0.0.1:1"]);
    assert_eq!(texts(resolve(None, Some("home"), &places)), ["localhost:5"]);
    assert_eq!(texts(resolve(Some("[::1]:2"), Some("home"), &places)), ["[::1]:2"]);
}

#[test]
fn without_any_word_it_is_this_machine() {
    assert_eq!(texts(resolve(None, None, &Places::default())), [DEFAULT]);
}

#[test]
fn the_dev_directory_of_another_terminal_is_found() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(DEV_FILE), "127.0.0.1:77\n").unwrap();
    let places = Places { state: Some(dir.path().join("state")), ..Places::default() };
    places.remember_dev(dir.path()).unwrap();
    assert_eq!(texts(resolve(None, None, &places)), ["127.0.0.1:77"]);
}

#[test]
fn what_is_no_endpoint_is_refused() {
    for text in ["", "host", ":7401", "127.0.0.1:0", "127.0.0.1:99999", "http://localhost:1"] {
        assert!(text.parse::<Endpoint>().is_err(), "{text}");
    }
    insta::assert_snapshot!(refusal("localhost"), @"
    × `localhost` is not an endpoint
    help: write HOST:PORT, such as 127.0.0.1:7401; several with commas
    ");
}

#[test]
fn other_machines_are_endpoints_too() {
    for text in ["gpu7.lab:7401", "https://gpu7.lab:7401/", "[2001:db8::1]:7401"] {
        assert!(text.parse::<Endpoint>().is_ok(), "{text}");
    }
}

#[test]
fn the_certificates_go_with_the_endpoints() {
    let dir = tempfile::tempdir().unwrap();
    let config = "[contexts.lab]\nendpoints = ['gpu7.lab:3']\npki = '/lab'\n";
    fs::write(dir.path().join("config.toml"), config).unwrap();
    fs::write(dir.path().join(DEV_FILE), "127.0.0.1:77\n").unwrap();
    let mut places = Places { state: Some(dir.path().join("state")), ..Places::default() };
    places.config = Some(dir.path().to_owned());
    places.remember_dev(dir.path()).unwrap();
    let dev = Some(dev_pki(dir.path()));
    assert_eq!(resolve(None, None, &places).unwrap().pki, dev);
    assert_eq!(resolve(Some("127.0.0.1:77"), None, &places).unwrap().pki, dev);
    assert_eq!(resolve(Some("127.0.0.1:78"), None, &places).unwrap().pki, None);
    let lab = resolve(None, Some("lab"), &places).unwrap();
    assert_eq!(lab.pki.as_deref(), Some(Path::new("/lab")));
    let nobody = Route { pki: None, ..lab };
    let error = credentials(None, &nobody, &Places::default()).unwrap_err();
    assert_eq!(error.exit(), Exit::Auth);
    insta::assert_snapshot!(error.render(false, 80), @"
    × no certificates are named, so nobody can be trusted
    help: --pki DIR or YARD_PKI names the directory that an administrator gave
          you; `yard dev` starts a cluster here that needs neither
    ");
}

#[test]
fn an_unknown_context_names_those_there_are() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.toml"), "[contexts.lab]\nendpoints = ['127.0.0.1:3']\n")
        .unwrap();
    let places = Places { config: Some(dir.path().to_owned()), ..Places::default() };
    let error = resolve(None, Some("lap"), &places).unwrap_err();
    insta::assert_snapshot!(error.render(false, 80), @"
    × there is no context `lap`
    help: there are: lab
    ");
}
