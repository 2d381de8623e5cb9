"""Cards of models in other projects' packages: what their numbers mean (`fer_keras.runtime.peer`)."""
