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
    assert!((cluster.tariff().at(0) - 49.0).abs() < 1e-9);
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
        ("[[nodes]]\nprices = [[0, -1.0]]", "dollars an hour"),
        ("[[nodes]]\nprices = [[-5, 1.0]]", "not below 0"),
        ("[[nodes]]\nprices = [[\"soon\", 1.0]]", "not a span of time"),
        ("[[nodes]]\nspeeds = { bert = 0.0 }", "a number above 0"),
        ("[[nodes]]\nshares = 1", "a whole GPU"),
        ("[[nodes]]\nshares = 65", "not one of its GPU's shares"),
        ("[[nodes]]\nmig = [\"half\"]", "such as `3g.20gb`"),
        ("[[nodes]]\nmig = [\"4g.20gb\", \"4g.20gb\"]", "more than a GPU"),
        ("[[nodes]]\nmig = [\"4g.20gb\"]\nshares = 2", "one of the two"),
        ("[[nodes]]\ncpus = 0", "leave them out"),
        ("[[nodes]]\n[[reservations]]\nfrom = 0", "missing field `to`"),
        ("[[nodes]]\n[[reservations]]\nfrom = 9\nto = 9", "end before it begins"),
        ("[[nodes]]\n[[reservations]]\nfrom = 0\nto = 9\nannounced = 9", "have ended"),
        ("[[nodes]]\n[[reservations]]\nfrom = 0\nto = 9\nnodes = [\"node-1\"]", "no node `node-1`"),
        (
            "[[nodes]]\n[[reservations]]\nfrom = 0\nto = 9\nlabels = { a = \"b\" }",
            "no node carries",
        ),
        ("[[nodes]]\n[[reservations]]\nfrom = 0\nto = \"400d\"", "last longer"),
    ] {
        let error = Cluster::parse("c.toml", text).expect_err(text).to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
    assert!(Cluster::read("nowhere.toml").is_err());
}
