use trainyard_jobs::Bytes;

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

#[test]
fn slurms_accounts_are_told_by_their_header() {
    let text = "JobID|JobName|User|Account|Submit|Start|End|AllocTRES\n\
        7|train \"x|ann|lab a|2026-01-01T00:01:00|2026-01-01T00:02:00|2026-01-02T00:02:00|billing=8,cpu=8,gres/gpu=4,gres/gpu:a100=4,node=1\n\
        7.batch|batch||lab a|2026-01-01T00:01:00|2026-01-01T00:02:00|2026-01-02T00:02:00|gres/gpu=4\n\
        8|prep|ann|lab a|2026-01-01T00:00:00|2026-01-01T00:00:01|2026-01-01T00:00:02|cpu=4\n\
        9|late|bob|lab b|2026-01-01T00:00:30|Unknown|Unknown|gres/gpu:h100=1\n\
        10|on|bob|lab b|2026-01-01T00:00:30|2026-01-01T00:00:40|2026-01-01T00:00:50|gres/gpu:h100=1\n";
    let workload = read_text("s.txt", text, None).expect("a trace");
    let [late, first] = workload.jobs.as_slice() else { panic!("{workload:?}") };
    assert_eq!((late.id.as_str(), late.submit, late.gpus), ("10", Millis(0), 1));
    assert_eq!(first.submit, Millis(30_000), "the times count from the first submission");
    assert_eq!((first.gpus, first.duration), (4, Millis(86_400_000)));
    assert_eq!(first.gpu_type.as_deref(), Some("a100"));
    assert_eq!((first.project.as_str(), first.user.as_str()), ("lab-a", "ann"));
    let out: Vec<_> = workload.left_out.iter().map(|(why, n)| (why.as_str(), *n)).collect();
    assert_eq!(out, [("jobs that never started", 1), ("jobs without a GPU", 1)]);
    let wrong_time = text.replace("2026-01-01T00:00:40", "soon");
    assert!(wrong(&wrong_time).contains("line 6: start is `soon`"), "{}", wrong(&wrong_time));
}

#[test]
fn phillys_attempts_add_up() {
    let text = r#"[
        {"status":"Pass","vc":"ee9e8c","jobid":"application_1","user":"u1",
         "submitted_time":"2017-10-09 07:00:00","attempts":[
            {"start_time":"2017-10-09 07:01:00","end_time":"2017-10-09 07:02:00",
             "detail":[{"ip":"m1","gpus":["gpu0","gpu1"]}]},
            {"start_time":"2017-10-09 08:00:00","end_time":"2017-10-09 08:10:00",
             "detail":[{"ip":"m1","gpus":["gpu0","gpu1"]},{"ip":"m2","gpus":["gpu0"]}]}]},
        {"status":"Killed","vc":"v","jobid":"application_2","user":"u2",
         "submitted_time":"2017-10-09 06:00:00","attempts":[]},
        {"status":"Killed","vc":"v","jobid":"application_3","user":"u2",
         "submitted_time":"2017-10-09 06:00:00","attempts":[
            {"start_time":"2017-10-09 07:01:00","end_time":null,
             "detail":[{"ip":"m1","gpus":["gpu0"]}]}]}]"#;
    let workload = read_text("p.json", text, None).expect("a trace");
    assert_eq!(workload.jobs.len(), 1);
    assert_eq!((workload.jobs[0].gpus, workload.jobs[0].duration), (3, Millis(660_000)));
    assert_eq!(workload.left_out.iter().map(|(_, n)| n).sum::<u64>(), 2);
    assert!(wrong("[{\"attempts\": 3}]").contains("expected an array of jobs"));
}

#[test]
fn alibabas_tables_of_both_years_are_read() {
    let pods = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos,pod_phase,creation_time,deletion_time,scheduled_time\n\
        a,1,1,1,460,,LS,Running,100,400,200.0\nb,1,1,0,0,,BE,Running,90,400,200\n\
        c,1,1,8,1000,V100M16|V100M32,LS,Running,150,,\n";
    let workload = read_text("a.csv", pods, None).expect("a trace");
    assert_eq!(workload.jobs.len(), 1);
    assert_eq!((workload.jobs[0].gpus, workload.jobs[0].duration), (1, Millis(200_000)));
    assert_eq!(asked(&workload.jobs[0]), (460, Some(1), Some(Bytes(1 << 20))));
    let gang = pods.replace("a,1,1,1,460", "a,12500,4096,4,1000");
    let workload = read_text("a.csv", &gang, None).expect("a trace");
    assert_eq!(asked(&workload.jobs[0]), (1000, Some(4), Some(Bytes(1 << 30))), "for each rank");
    let tasks = "j1,worker,4,Terminated,1000,4600,600,29.3,50,V100\nj2,ps,1,Terminated,900,901,600,29.3,,\n";
    let workload = read_text("t.csv", tasks, Some(Dialect::Alibaba)).expect("a trace");
    assert_eq!(workload.jobs.len(), 1);
    let job = &workload.jobs[0];
    assert_eq!((job.gpus, job.duration, job.submit), (4, Millis(3_600_000), Millis(0)));
    assert_eq!(job.gpu_type.as_deref(), Some("v100"));
    assert_eq!(asked(job), (500, Some(6), Some(Bytes(29_300_000_000))));
}

/// What each rank of a job asks for.
fn asked(job: &TraceJob) -> (u16, Option<u32>, Option<Bytes>) {
    (job.part_milli(), job.cpus_per_rank, job.memory_per_rank)
}

#[test]
fn parts_processors_and_memory_are_columns() {
    let head = "submit_time_s,gpus,duration_s,gpu_fraction,cpus_per_rank,memory_per_rank\n";
    let text = format!("{head}0,1,60,0.25,8,64GiB\n1,1,60,,,\n2,1,60,1,0,0B\n");
    let jobs = read_text("t.csv", &text, None).expect("a trace").jobs;
    assert_eq!(asked(&jobs[0]), (250, Some(8), Some(Bytes(64 << 30))));
    assert_eq!(asked(&jobs[1]), (1000, None, None));
    assert_eq!(asked(&jobs[2]), (1000, None, None));
    for (line, says) in [
        ("0,1,60,1.5,,", "gpu_fraction is `1.5`"),
        ("0,1,60,nan,,", "gpu_fraction is `nan`"),
        ("0,1,60,,-1,", "cpus_per_rank is `-1`"),
        ("0,1,60,,,much", "memory_per_rank: `much` is not a size"),
    ] {
        let error = wrong(&format!("{head}{line}\n"));
        assert!(error.contains(says) && error.contains("line 2"), "{error}");
    }
}
