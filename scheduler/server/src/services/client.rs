//! The client's service: one short method a request, the work in the files by subject.

use tonic::{Request, Response, Status, Streaming};
use trainyard_proto::v1::{self, client_server::Client};

use super::{Answers, bundles, jobs, listing, logs, nodes};
use crate::{access::Caller, replica::Replica};

pub(crate) struct ClientService(pub(crate) Replica);

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl Client for ClientService {
    async fn submit(&self, request: Request<v1::SubmitRequest>) -> Answer<v1::SubmitAnswer> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(jobs::submit(&self.0, &caller, request.into_inner()).await?))
    }

    async fn cancel(&self, request: Request<v1::CancelRequest>) -> Answer<v1::JobAnswer> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(jobs::cancel(&self.0, &caller, request.into_inner()).await?))
    }

    async fn get_job(&self, request: Request<v1::GetJobRequest>) -> Answer<v1::JobAnswer> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(jobs::get(&self.0, &caller, &request.into_inner()).await?))
    }

    async fn list_jobs(&self, request: Request<v1::ListJobsRequest>) -> Answer<v1::ListJobsAnswer> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(listing::list(&self.0, &caller, &request.into_inner()).await?))
    }

    type WatchJobStream = Answers<v1::JobUpdate>;

    async fn watch_job(&self, request: Request<v1::GetJobRequest>) -> Answer<Self::WatchJobStream> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(jobs::watch(&self.0, &caller, request.into_inner()).await?))
    }

    async fn explain(&self, request: Request<v1::GetJobRequest>) -> Answer<v1::ExplainAnswer> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(jobs::explain(&self.0, &caller, &request.into_inner()).await?))
    }

    type LogsStream = Answers<v1::LogChunk>;

    async fn logs(&self, request: Request<v1::LogsRequest>) -> Answer<Self::LogsStream> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(logs::stream(&self.0, &caller, request.into_inner()).await?))
    }

    async fn list_nodes(
        &self,
        request: Request<v1::ListNodesRequest>,
    ) -> Answer<v1::ListNodesAnswer> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(nodes::list(&self.0, &caller, &request.into_inner()).await?))
    }

    async fn list_models(
        &self,
        request: Request<v1::ListModelsRequest>,
    ) -> Answer<v1::ListModelsAnswer> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(bundles::list_models(&self.0, &caller, &request.into_inner()).await?))
    }

    async fn get_model(&self, request: Request<v1::GetModelRequest>) -> Answer<v1::ModelAnswer> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(bundles::get_model(&self.0, &caller, &request.into_inner()).await?))
    }

    type ReadModelFileStream = Answers<v1::DataChunk>;

    async fn read_model_file(
        &self,
        request: Request<v1::ReadModelFileRequest>,
    ) -> Answer<Self::ReadModelFileStream> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(bundles::read_model_file(&self.0, &caller, &request.into_inner()).await?))
    }

    async fn has_bundle(
        &self,
        request: Request<v1::HasBundleRequest>,
    ) -> Answer<v1::HasBundleAnswer> {
        Ok(Response::new(bundles::has_bundle(&self.0, &request.into_inner()).await?))
    }

    async fn upload_bundle(
        &self,
        request: Request<Streaming<v1::BundleChunk>>,
    ) -> Answer<v1::HasBundleAnswer> {
        let caller = Caller::of(&request)?;
        Ok(Response::new(bundles::upload(&self.0, &caller, request.into_inner()).await?))
    }

    async fn cluster_status(
        &self,
        _: Request<v1::ClusterStatusRequest>,
    ) -> Answer<v1::ClusterStatusAnswer> {
        Ok(Response::new(nodes::cluster_status(&self.0).await?))
    }
}
