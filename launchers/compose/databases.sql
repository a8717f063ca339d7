-- Beside MLflow's database, which the image makes itself: the sweeps'.
CREATE DATABASE optuna;
