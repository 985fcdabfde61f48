"""Images and label maps in, annotations out; knows core and session, no model and no viewer."""
