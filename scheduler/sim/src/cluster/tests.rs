use super::*;

#[test]
fn the_short_form_is_nodes_times_gpus() {
    let cluster = Cluster::read("52x8:v100").expect("a cluster");
    assert_eq!(cluster.gpus(), 416);
    assert_eq!(cluster.nodes[0].gpu_type, "v100");
}

#[test]
fn a_file_names_groups_with_prices_and_failures() {
    let text = "[[nodes]]\nname = \"a\"\ncount = 2\ngpus = 8\nprice = 24.5\nmtbf = \"30d\"\n\
                [[nodes]]\nname = \"b\"\ncount = 1\ngpus = 4\nspeed = 0.5\n";
    let cluster = Cluster::parse("c.toml", text).expect("a cluster");
    assert_eq!(cluster.gpus(), 20);
    assert!((cluster.price() - 49.0).abs() < 1e-9);
    assert_eq!(cluster.nodes[0].mtbf, Some(Millis(30 * 86_400_000)));
}

#[test]
fn what_is_no_cluster_is_refused_with_what_to_do() {
    for (text, says) in [
        ("nodes = []", "no GPU"),
        ("[[nodes]]\ncount = 0", "no GPU"),
        ("[[nodes]]\nspeed = nan", "a number above 0"),
        ("[[nodes]]\nprice = -1.0", "dollars an hour"),
        ("[[nodes]]\nprice = nan", "dollars an hour"),
        ("[[nodes]]\nname = \"A b\"", "cannot begin a node's name"),
        ("[[nodes]]\nmtbf = \"0s\"", "leave it out"),
        ("[[nodes]]\n[[nodes]]\n", "two groups"),
        ("[[nodes]]\ngpu = 3", "unknown field"),
        ("[[nodes]]\ncount = 4000000000", "at most"),
    ] {
        let error = Cluster::parse("c.toml", text).expect_err(text).to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
    assert!(Cluster::read("nowhere.toml").is_err());
}
