//! What nodes cost and how fast they are reaches the planner, and the accounts.

use super::*;

fn costs(outcome: &Outcome) -> Vec<f64> {
    outcome.fates.iter().map(|fate| (fate.cost_usd * 1e6).round() / 1e6).collect()
}

#[test]
fn the_cheaper_nodes_are_taken_first() {
    let text = "[[nodes]]\nname = \"dear\"\nprice = 16.0\n[[nodes]]\nname = \"spot\"\nprice = 4.0\n\
                [[nodes]]\nname = \"odd\"\nprice = 8.0\n";
    let outcome = with_cluster(text, "0,8,3600\n1,8,3600\n2,8,3600\n", &fifo());
    assert_eq!(costs(&outcome), [4.0, 8.0, 16.0]);
}

#[test]
fn who_is_often_taken_away_is_taken_last() {
    let text = "[[nodes]]\nname = \"a\"\nprice = 4.0\ninterrupted_every = \"100d\"\n\
                [[nodes]]\nname = \"b\"\nprice = 8.0\n";
    assert_eq!(costs(&with_cluster(text, "0,8,3600\n", &fifo())), [4.0]);
    let often = text.replace("100d", "2h").replace("price = 4.0", "price = 7.9");
    assert_eq!(costs(&with_cluster(&often, "0,8,3600\n", &fifo())), [8.0]);
}

#[test]
fn a_job_goes_where_it_is_fast() {
    let text = "[[nodes]]\nname = \"a\"\ngpu_type = \"v100\"\n\
                [[nodes]]\nname = \"b\"\ngpu_type = \"h100\"\nspeed = 3.0\n\
                speeds = { bert = 0.5, gpt = 4.0 }\n";
    let outcome = with_cluster(text, "0,8,3600\n", &fifo());
    assert_eq!(ends(&outcome), [Some(1200)]);
    let head = "submit_time_s,gpus,duration_s,name\n";
    let trace = format!("{head}0,8,3600,bert\n1,8,3600,gpt\n");
    let workload = read_text("t.csv", &trace, None).expect("a trace");
    let cluster = Cluster::parse("c.toml", text).expect("a cluster");
    let outcome = replay(&workload, &cluster, &fifo()).expect("a replay");
    assert_eq!(ends(&outcome), [Some(3600), Some(901)], "each to its own");
}

#[test]
fn nodes_of_one_type_are_told_apart_by_nobody() {
    let text = "[[nodes]]\nname = \"a\"\nspeed = 0.5\n[[nodes]]\nname = \"b\"\nspeed = 2.0\n";
    let outcome = with_cluster(text, "0,8,3600\n0,8,3600\n", &fifo());
    let mut ends = ends(&outcome);
    ends.sort_unstable();
    assert_eq!(ends, [Some(1800), Some(7200)]);
}

#[test]
fn prices_change_while_jobs_run() {
    let text = "[[nodes]]\nprices = [[0, 16.0], [3600, 8.0], [\"3h\", 80.0]]\n";
    let outcome = with_cluster(text, "0,8,7200\n0,4,1800\n", &fifo());
    assert_eq!(ends(&outcome), [Some(7200), Some(9000)]);
    assert_eq!(costs(&outcome), [24.0, 2.0]);
    assert_eq!(outcome.fates[0].runs, 1, "what runs runs on");
    let figures = Figures::of("fifo", &outcome);
    assert!((figures.cluster_cost_usd - (16.0 + 1.5 * 8.0)).abs() < 1e-9, "{figures:?}");
}

#[test]
fn a_change_of_price_changes_where_jobs_go() {
    let text = "[[nodes]]\nname = \"spot\"\nprices = [[0, 2.0], [\"1h\", 20.0]]\n\
                [[nodes]]\nname = \"own\"\nprice = 8.0\n";
    let outcome = with_cluster(text, "0,8,1800\n7200,8,1800\n", &fifo());
    assert_eq!(costs(&outcome), [1.0, 4.0]);
}

#[test]
fn prices_stand_in_a_table_of_their_own() {
    let folder = std::env::temp_dir().join(format!("trainyard-sim-prices-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("written");
    write("c.toml", "[[nodes]]\nprice = 8.0\nprice_file = \"spot.csv\"\n");
    write("spot.csv", "time_s,usd_per_hour\n1800,4\n");
    let path = folder.join("c.toml").display().to_string();
    let cluster = Cluster::read(&path).expect("a cluster");
    assert!((cluster.tariff().between(0, 3_600_000) - 6.0).abs() < 1e-9);
    for (table, says) in [
        ("time_s,usd_per_hour\n0,4\n1800,much\n", "line 3: usd_per_hour is `much`"),
        ("time_s,usd_per_hour\n-1,4\n", "time_s is `-1`"),
        ("time_s,price\n0,4\n", "no column `usd_per_hour`"),
    ] {
        write("spot.csv", table);
        let error = Cluster::read(&path).expect_err(table).to_string();
        assert!(error.contains(says), "{error}");
    }
    std::fs::remove_file(folder.join("spot.csv")).expect("removed");
    let error = Cluster::read(&path).expect_err("no table").to_string();
    assert!(error.contains("read the prices"), "{error}");
    std::fs::remove_dir_all(&folder).expect("tidied up");
}
