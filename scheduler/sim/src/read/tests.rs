use super::*;

const HEAD: &str = "job_id,submit_time_s,gpus,duration_s,vc,gpu_type,model\n";

fn wrong(text: &str) -> String {
    read_text("t.csv", text, None).expect_err(text).to_string()
}

#[test]
fn the_common_schema_is_read_by_the_names_of_its_columns() {
    let text = format!("{HEAD}7,10.5,8,3600.25,Team A,V100,bert\n8,2,1,60,,any,\n");
    let jobs = read_text("t.csv", &text, None).expect("a trace").jobs;
    assert_eq!(jobs[0].id, "8", "in the order of submission");
    assert_eq!(jobs[0].project.as_str(), "default");
    assert_eq!(jobs[0].gpu_type, None);
    assert_eq!(jobs[1].submit, Millis(10_500));
    assert_eq!(jobs[1].duration, Millis(3_600_250));
    assert_eq!(jobs[1].project.as_str(), "team-a");
    assert_eq!(jobs[1].gpu_type.as_deref(), Some("v100"));
    assert_eq!(jobs[1].name.as_str(), "bert");
}

#[test]
fn a_job_without_gpus_is_left_out_and_counted() {
    let text = format!("{HEAD}1,0,0,60,,,\n2,0,1,60,,,\n");
    let workload = read_text("t.csv", &text, None).expect("a trace");
    assert_eq!(workload.jobs.len(), 1);
    assert_eq!(workload.left_out, [("jobs without a GPU".to_owned(), 1)]);
}

#[test]
fn a_wrong_line_is_named() {
    for (line, says) in [
        ("1,nan,1,60,,,", "submit_time_s is `nan`"),
        ("1,-5,1,60,,,", "submit_time_s is `-5`"),
        ("1,0,1,inf,,,", "duration_s is `inf`"),
        ("1,0,1,,,,", "duration_s is ``"),
        ("1,0,-1,60,,,", "gpus is `-1`"),
        ("1,0,99999999999,60,,,", "gpus is"),
    ] {
        let text = format!("{HEAD}0,0,1,60,,,\n{line}\n");
        let error = wrong(&text);
        assert!(error.contains(says) && error.contains("line 3"), "{error}");
    }
    assert!(wrong("a,b\n1,2\n").contains("no column `submit_time_s`"));
    assert!(wrong("").contains("no column"));
}
